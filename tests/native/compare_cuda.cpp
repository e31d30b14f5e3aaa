// The CUDA kernels against those of the CPU: compare CASES SEED. With the emulator's headers before
// csrc it runs on any machine, without them on a GPU.
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cuda/lcs.h"
#include "cuda/memory.h"
#include "ids.h"

using namespace leakrepro;

namespace {

std::mt19937 random_number;

std::size_t up_to(std::size_t most) { return random_number() % (most + 1); }

// Beside the widths of words, chunks, warps and bands.
std::size_t edge(bool is_long) {
    static constexpr std::size_t kShort[] = {0, 1, 7, 8, 9, 31, 32, 33, 63, 64};
    static constexpr std::size_t kLong[] = {65, 127, 128, 129, 1023, 1024, 1025, 4095, 4096, 4097};
    return is_long ? kLong[up_to(9)] : kShort[up_to(9)];
}

template <class Id>
struct Sequences {
    std::vector<Id> ids;
    std::vector<std::int64_t> offsets{0};

    void add(std::size_t size, const std::vector<Id>& alphabet) {
        for (std::size_t i = 0; i < size; ++i) ids.push_back(alphabet[up_to(alphabet.size() - 1)]);
        offsets.push_back(static_cast<std::int64_t>(ids.size()));
    }
    std::size_t count() const { return offsets.size() - 1; }
};

template <class Id>
struct Device {
    DeviceArray<Id> ids;
    DeviceArray<std::int64_t> offsets;

    explicit Device(const Sequences<Id>& sequences)
        : ids(sequences.ids, nullptr), offsets(sequences.offsets, nullptr) {}
    CudaSequences view(const Sequences<Id>& sequences) const {
        return {ids.data(), offsets.data(), sequences.offsets.data(), sequences.count()};
    }
};

template <class Id>
bool compare(bool is_all, bool is_long) {
    const std::size_t limit = sizeof(Id) == 1 ? 255 : sizeof(Id) == 2 ? 65535 : 100000;
    std::vector<Id> alphabet(1 + up_to(is_long ? 800 : 60));
    for (Id& id : alphabet) id = static_cast<Id>(up_to(limit));
    std::vector<Id> others = alphabet;  // candidates have ids that no reference has
    for (std::size_t i = 0; i < others.size(); i += 3) others[i] = static_cast<Id>(random_number());
    Sequences<Id> references, candidates;
    std::vector<std::int64_t> groups{0};
    const std::size_t count = 1 + up_to(is_long ? 1 : 5);
    for (std::size_t r = 0; r < count; ++r) {
        references.add(edge(is_long && r == 0), alphabet);
        for (std::size_t left = up_to(is_long ? 4 : 80); left > 0; --left) {
            const std::size_t size = is_long    ? edge(up_to(1) != 0) % 1100
                                     : up_to(1) ? edge(false)
                                                : up_to(130);
            candidates.add(size, up_to(1) ? alphabet : others);
        }
        groups.push_back(static_cast<std::int64_t>(candidates.count()));
    }
    const std::int64_t* const groups_or_null = is_all ? nullptr : groups.data();
    std::size_t highest = 0;
    for (Id id : references.ids) highest = std::max<std::size_t>(highest, id);
    const IdGroups on_cpu{
        {references.ids.data(), references.offsets.data(), references.count()},
        {candidates.ids.data(), candidates.offsets.data(), candidates.count()},
        sizeof(Id),
        sizeof(Id) == 1 ? 256 : highest + 1,
        groups_or_null};
    const Device<Id> reference_device(references), candidate_device(candidates);
    const CudaGroups on_device{reference_device.view(references), candidate_device.view(candidates),
                               sizeof(Id), groups_or_null};
    const std::size_t pairs = candidates.count() * (is_all ? references.count() : 1);
    std::vector<std::int32_t> expected(pairs), found(pairs, -1);
    const Implementation& scalar = implementation("scalar");
    lcs_length(on_cpu, scalar, 1, [] {}, expected.data());
    const DeviceArray<std::int32_t> lengths(pairs, nullptr);
    cuda_lcs_length(on_device, lengths.data(), nullptr);
    lengths.copy_to(found.data());
    std::vector<double> wanted(3 * pairs), measures(3 * pairs, -1.0);
    rouge_l_ids(on_cpu, scalar, 1, [] {},
                {wanted.data(), wanted.data() + pairs, wanted.data() + 2 * pairs});
    const DeviceArray<double> results(3 * pairs, nullptr);
    cuda_measures(on_device, lengths.data(), results.data(), results.data() + pairs,
                  results.data() + 2 * pairs, nullptr);
    results.copy_to(measures.data());
    return found == expected && measures == wanted;
}

}  // namespace

int main(int, char** arguments) {
    const int cases = std::atoi(arguments[1]);
    random_number.seed(static_cast<unsigned>(std::atoi(arguments[2])));
    for (int i = 0; i < cases; ++i) {
        const bool is_all = up_to(1) != 0, is_long = up_to(19) == 0;
        bool is_same = false;
        switch (i % 4) {
            case 0: is_same = compare<std::uint8_t>(is_all, is_long); break;
            case 1: is_same = compare<std::uint16_t>(is_all, is_long); break;
            case 2: is_same = compare<std::uint32_t>(is_all, is_long); break;
            default: is_same = compare<std::uint64_t>(is_all, is_long);
        }
        if (!is_same) {
            std::fprintf(stderr, "case %d differs\n", i);
            return 1;
        }
    }
    std::printf("%d cases equal\n", cases);
}
