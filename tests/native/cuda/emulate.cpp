// Runs the CUDA kernels without a GPU on random cases, and compares every length with the plain
// dynamic program. emulate SEED CASES
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cuda/lcs.cu"

namespace {

using leakrepro::CudaGroups;
using Sequence = std::vector<std::uint64_t>;

int lcs(const Sequence& a, const Sequence& b) {
    std::vector<int> row(b.size() + 1, 0);
    for (std::uint64_t token : a) {
        int diagonal = 0;
        for (std::size_t j = 0; j < b.size(); ++j) {
            const int above = row[j + 1];
            row[j + 1] = token == b[j] ? diagonal + 1 : std::max(above, row[j]);
            diagonal = above;
        }
    }
    return row.back();
}

struct Csr {
    std::vector<char> ids;
    std::vector<std::int64_t> offsets{0};

    Csr(const std::vector<Sequence>& sequences, int width) {
        for (const Sequence& sequence : sequences) {
            for (std::uint64_t id : sequence) {
                const auto* bytes = reinterpret_cast<const char*>(&id);
                ids.insert(ids.end(), bytes, bytes + width);
            }
            offsets.push_back(offsets.back() + static_cast<std::int64_t>(sequence.size()));
        }
    }
};

// Sizes around those at which the kernels do something else.
constexpr std::int64_t kEdges[] = {0, 1, 8, 16, 31, 32, 33, 63, 64, 65, 127, 128, 129};
constexpr std::int64_t kFarEdges[] = {511, 512, 513, 1023, 1024, 1025, 2047, 2048, 2049, 4097};

class Cases {
  public:
    explicit Cases(unsigned seed) : random_(seed) {}

    bool run_one() {
        const int width = 1 << below(4);
        const bool far = below(25) == 0;  // few: they are slow
        const bool all = below(2) == 0;
        const std::uint64_t top = ~std::uint64_t{0} >> (64 - 8 * width);
        const std::uint64_t alphabet = std::min<std::uint64_t>(top, 1 + below(below(2) ? 4 : 200));
        const std::uint64_t stretch = below(2) ? 1 : top / alphabet;

        std::vector<Sequence> references(below(far ? 2 : 5)), candidates;
        for (Sequence& s : references) s = sequence(far, alphabet, stretch);
        std::vector<std::int64_t> groups{0};
        std::vector<int> expected;
        if (all) {
            candidates.resize(size_of_group(far));
            for (Sequence& s : candidates) s = sequence(far, alphabet, stretch);
            for (const Sequence& r : references) {
                for (const Sequence& c : candidates) expected.push_back(lcs(r, c));
            }
        } else {
            for (const Sequence& r : references) {
                for (std::int64_t n = size_of_group(far); n > 0; --n) {
                    candidates.push_back(sequence(far, alphabet, stretch));
                    expected.push_back(lcs(r, candidates.back()));
                }
                groups.push_back(static_cast<std::int64_t>(candidates.size()));
            }
        }
        const Csr r(references, width), c(candidates, width);
        const leakrepro::Buffer<char> r_there(r.ids.data(), r.ids.size(), nullptr);
        const leakrepro::Buffer<char> c_there(c.ids.data(), c.ids.size(), nullptr);
        const leakrepro::Buffer<std::int32_t> lengths_there(expected.size(), nullptr);
        std::vector<std::int32_t> lengths(expected.size(), -1);
        const bool device_ids = below(2) == 0, device_lengths = below(2) == 0;
        const CudaGroups described{
            {device_ids ? r_there.get() : r.ids.data(), r.offsets.data(), references.size()},
            {device_ids ? c_there.get() : c.ids.data(), c.offsets.data(), candidates.size()},
            width,
            all ? nullptr : groups.data()};
        leakrepro::cuda_lcs_length(described, {0, nullptr}, [] {},
                                   device_lengths ? lengths_there.get() : lengths.data());
        if (device_lengths) {
            std::copy_n(lengths_there.get(), expected.size(), lengths.data());
        }
        pairs_ += expected.size();
        for (std::size_t i = 0; i < expected.size(); ++i) {
            if (lengths[i] == expected[i]) continue;
            std::printf("pair %zu of %zu: %d, not %d (%d bytes an id, %s)\n", i, expected.size(),
                        lengths[i], expected[i], width, all ? "all with all" : "groups");
            return false;
        }
        return true;
    }

    std::size_t pairs() const { return pairs_; }

  private:
    std::mt19937_64 random_;
    std::size_t pairs_ = 0;

    std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(random_() % n); }

    std::int64_t size_of_group(bool far) {
        if (far) return 1 + below(4);
        const std::int64_t sizes[] = {0, 1, 7, 31, 32, 33, 70, 255 + below(3)};
        return sizes[below(8)];
    }

    Sequence sequence(bool far, std::uint64_t alphabet, std::uint64_t stretch) {
        std::int64_t size = kEdges[below(std::size(kEdges))];
        if (far && below(2) == 0) size = kFarEdges[below(std::size(kFarEdges))];
        if (below(4) == 0) size = below(70);
        Sequence result(static_cast<std::size_t>(size));
        const bool runs = below(4) == 0;  // equal tokens in a row carry far
        std::uint64_t id = 0;
        for (std::uint64_t& token : result) {
            if (!runs || below(50) == 0) {
                id = static_cast<std::uint64_t>(below(static_cast<std::int64_t>(alphabet)));
            }
            token = id * stretch;
        }
        return result;
    }
};

}  // namespace

int main(int, char** arguments) {
    Cases cases(static_cast<unsigned>(std::atoi(arguments[1])));
    const int count = std::atoi(arguments[2]);
    for (int i = 0; i < count; ++i) {
        if (!cases.run_one()) return 1;
    }
    std::printf("%d cases, %zu pairs: no difference\n", count, cases.pairs());
}
