#include "cuda/lcs.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/launch.h"
#include "cuda/kernels.h"
#include "cuda/memory.h"
#include "cuda/sort.h"

namespace leakrepro {
namespace {

using namespace cuda;

// Limit for the references of one slice, because their numbers index a table in shared memory.
constexpr std::size_t kMostReferenceTokens = 1 << 14;
static_assert(kMaskBytes + kMostReferenceTokens + 1 <= 48 * 1024, "see launch.h");
// Limit for the candidates of one slice, to bound the memory of the conversion.
constexpr std::size_t kMostCandidateTokens = std::size_t{1} << 28;

unsigned blocks_for(std::size_t threads) {
    constexpr std::size_t kMost = 1 << 16;  // more blocks would not run at the same time
    return static_cast<unsigned>(
        std::clamp<std::size_t>((threads + kThreads - 1) / kThreads, 1, kMost));
}

// Candidates `first` to `last` - 1 of one reference.
struct Part {
    std::uint32_t reference;
    std::size_t first, last;
};

// Computes all LCS lengths of one call.
class Matcher {
  public:
    Matcher(const CudaGroups& groups, std::int32_t* lengths, cudaStream_t stream)
        : groups_(groups),
          lengths_(lengths),
          stream_(stream),
          references_{groups.references.ids, groups.references.offsets, groups.width},
          candidates_{groups.candidates.ids, groups.candidates.offsets, groups.width},
          highest_(find_highest_id()),
          numbers_(highest_, stream),
          count_(1, stream) {
        numbers_.clear();
    }

    void operator()() {
        std::vector<std::uint32_t> slice;
        std::size_t tokens = 0;
        for (std::size_t r = 0; r < groups_.references.count; ++r) {
            const std::size_t size = groups_.references.size_of(r);
            if (size == 0) continue;  // the lengths are already zero
            if (size > kShortTokens) {
                match_long_reference(static_cast<std::uint32_t>(r));
                continue;
            }
            if (tokens + size > kMostReferenceTokens) {
                match_short_references(slice);
                slice.clear();
                tokens = 0;
            }
            slice.push_back(static_cast<std::uint32_t>(r));
            tokens += size;
        }
        if (!slice.empty()) match_short_references(slice);
    }

  private:
    const CudaGroups& groups_;
    std::int32_t* const lengths_;
    const cudaStream_t stream_;
    const Ids references_, candidates_;
    const std::uint64_t highest_;  // ids of references are below it
    const DeviceArray<std::uint32_t> numbers_;  // indexed by id; all zero between slices
    const DeviceArray<unsigned int> count_;

    bool is_all() const { return groups_.groups == nullptr; }

    std::uint64_t find_highest_id() const {
        const std::int64_t first = groups_.references.host_offsets[0];
        const std::int64_t last = groups_.references.host_offsets[groups_.references.count];
        const DeviceArray<unsigned long long> highest(1, stream_);
        highest.clear();
        launch(find_highest, blocks_for(static_cast<std::size_t>(last - first)), kThreads, 0,
               stream_, references_, first, last, highest.data());
        unsigned long long found = 0;
        highest.copy_to(&found);
        if (found > kMostCudaIds) {
            throw std::invalid_argument("ids of references on a device must be from 0 to " +
                                        std::to_string(kMostCudaIds - 1));
        }
        return found;
    }

    // Numbers the ids of the chosen references and returns an upper bound of the numbers.
    std::uint32_t number(const DeviceArray<std::uint32_t>& chosen, std::size_t tokens) const {
        count_.clear();
        launch(number_ids, blocks_for(chosen.size() * kThreads), kThreads, 0, stream_, references_,
               chosen.data(), static_cast<std::uint32_t>(chosen.size()), numbers_.data(),
               count_.data());
        return static_cast<std::uint32_t>(std::min<std::size_t>(tokens, highest_));
    }

    void forget(const DeviceArray<std::uint32_t>& chosen) const {
        launch(forget_ids, blocks_for(chosen.size() * kThreads), kThreads, 0, stream_, references_,
               chosen.data(), static_cast<std::uint32_t>(chosen.size()), numbers_.data());
    }

    // The end of a run of candidates that starts at `first` and has at most kMostCandidateTokens
    // tokens, or only one candidate.
    std::size_t run_end(std::size_t first, std::size_t last) const {
        const std::int64_t* offsets = groups_.candidates.host_offsets;
        const auto most = static_cast<std::int64_t>(kMostCandidateTokens);
        const auto end = std::upper_bound(offsets + first + 1, offsets + last + 1,
                                          offsets[first] + most);
        return std::max(static_cast<std::size_t>(end - offsets) - 1, first + 1);
    }

    void match_short_references(const std::vector<std::uint32_t>& slice) const {
        const DeviceArray<std::uint32_t> chosen(slice, stream_);
        std::size_t tokens = 0;
        for (std::uint32_t r : slice) tokens += groups_.references.size_of(r);
        const std::uint32_t most_numbers = number(chosen, tokens);
        if (is_all()) {
            for (std::size_t first = 0; first < groups_.candidates.count;) {
                const std::size_t last = run_end(first, groups_.candidates.count);
                match_tiles({{slice[0], first, last}}, &chosen, most_numbers);
                first = last;
            }
        } else {
            std::vector<Part> parts;
            std::size_t left = kMostCandidateTokens;
            for (std::uint32_t r : slice) {
                auto first = static_cast<std::size_t>(groups_.groups[r]);
                const auto end = static_cast<std::size_t>(groups_.groups[r + 1]);
                while (first < end) {
                    const std::size_t last = run_end(first, end);
                    const std::int64_t* offsets = groups_.candidates.host_offsets;
                    const auto its_tokens =
                        static_cast<std::size_t>(offsets[last] - offsets[first]);
                    if (its_tokens > left && !parts.empty()) {
                        match_tiles(parts, nullptr, most_numbers);
                        parts.clear();
                        left = kMostCandidateTokens;
                    }
                    parts.push_back({r, first, last});
                    left -= std::min(left, its_tokens);
                    first = last;
                }
            }
            if (!parts.empty()) match_tiles(parts, nullptr, most_numbers);
        }
        forget(chosen);
    }

    // Matches each part with its reference or, if `all` is given, one part with all of its
    // references.
    void match_tiles(const std::vector<Part>& parts, const DeviceArray<std::uint32_t>* all,
                     std::uint32_t most_numbers) const {
        std::vector<std::uint32_t> first, start;
        std::vector<Tile> tiles;
        std::vector<Work> work;
        std::uint32_t count = 0;
        for (const Part& part : parts) {
            first.push_back(static_cast<std::uint32_t>(part.first));
            start.push_back(count);
            const auto size = static_cast<std::uint32_t>(part.last - part.first);
            const auto first_tile = static_cast<std::uint32_t>(tiles.size());
            for (std::uint32_t i = 0; i < size; i += kLanes) {
                tiles.push_back({count + i, std::min(kLanes, size - i)});
            }
            const auto last_tile = static_cast<std::uint32_t>(tiles.size());
            for (std::uint32_t t = first_tile; t < last_tile; t += kTilesPerBlock) {
                work.push_back({part.reference, t, std::min(t + kTilesPerBlock, last_tile)});
            }
            count += size;
        }
        const auto tile_count = static_cast<std::uint32_t>(tiles.size());
        const DeviceArray<std::uint32_t> firsts(first, stream_);
        const DeviceArray<std::uint32_t> starts(start, stream_);
        const DeviceArray<Tile> device_tiles(tiles, stream_);

        DeviceArray<std::uint64_t> keys(count, stream_);
        DeviceArray<std::uint32_t> order(count, stream_);
        const SliceGroups groups{firsts.data(), starts.data(),
                                 static_cast<std::uint32_t>(parts.size())};
        launch(make_keys, blocks_for(count), kThreads, 0, stream_, candidates_, groups, count,
               keys.data(), order.data());
        int bits = 32;
        while (parts.size() > std::size_t{1} << (bits - 32)) ++bits;
        sort_pairs(keys, order, bits, stream_);

        DeviceArray<std::uint64_t> places(tile_count + 1, stream_);
        places.clear();
        launch(measure_tiles, blocks_for(tile_count), kThreads, 0, stream_, candidates_,
               device_tiles.data(), tile_count, order.data(), places.data());
        sum_before(places, stream_);
        std::uint64_t total = 0;
        check(cudaMemcpyAsync(&total, places.data() + tile_count, sizeof total,
                              cudaMemcpyDeviceToHost, stream_));
        check(cudaStreamSynchronize(stream_));

        const DeviceArray<Chunk> chunks(total, stream_);
        launch(write_chunks, blocks_for(std::size_t{tile_count} * kLanes), kThreads, 0, stream_,
               candidates_, device_tiles.data(), tile_count, order.data(), places.data(),
               numbers_.data(), highest_, chunks.data());

        std::size_t blocks = work.size();
        if (all != nullptr) blocks *= all->size();
        const DeviceArray<Work> device_work(work, stream_);
        const WorkList list{device_work.data(), all == nullptr ? nullptr : all->data(),
                            static_cast<std::uint32_t>(work.size())};
        launch(match_short, static_cast<unsigned>(blocks), kThreads, kMaskBytes + most_numbers + 1,
               stream_, references_, numbers_.data(), most_numbers, list, device_tiles.data(),
               order.data(), places.data(), chunks.data(),
               static_cast<std::uint64_t>(is_all() ? groups_.candidates.count : 0), lengths_);
    }

    void match_long_reference(std::uint32_t reference) const {
        const DeviceArray<std::uint32_t> chosen(std::vector{reference}, stream_);
        const std::size_t size = groups_.references.size_of(reference);
        const std::uint32_t most_numbers = number(chosen, size);
        const std::int64_t begin = groups_.references.host_offsets[reference];
        const DeviceArray<unsigned long long> masks((std::size_t{most_numbers} + 1) * kBandWords,
                                                    stream_);
        auto first = static_cast<std::size_t>(is_all() ? 0 : groups_.groups[reference]);
        const std::size_t end = is_all() ? groups_.candidates.count
                                         : static_cast<std::size_t>(groups_.groups[reference + 1]);
        std::int32_t* const lengths =
            lengths_ + (is_all() ? reference * groups_.candidates.count : 0);
        constexpr std::size_t kBand = 64 * kBandWords;
        while (first < end) {
            const std::size_t last = run_end(first, end);
            const std::int64_t from = groups_.candidates.host_offsets[first];
            const std::int64_t to = groups_.candidates.host_offsets[last];
            const auto tokens = static_cast<std::size_t>(to - from);
            const DeviceArray<std::uint32_t> numbers(tokens, stream_);
            launch(write_numbers, blocks_for(tokens), kThreads, 0, stream_, candidates_, from, to,
                   numbers_.data(), highest_, numbers.data());
            const DeviceArray<std::uint8_t> carries(size > kBand ? tokens : 0, stream_);
            carries.clear();
            for (std::size_t band = 0; band < size; band += kBand) {
                const auto width = static_cast<std::uint32_t>(std::min(kBand, size - band));
                masks.clear();
                launch(write_masks, blocks_for(width), kThreads, 0, stream_, references_,
                       begin + static_cast<std::int64_t>(band), width, numbers_.data(),
                       masks.data());
                const auto count = static_cast<std::uint32_t>(last - first);
                launch(match_long, blocks_for(std::size_t{count} * kLanes), kThreads, 0, stream_,
                       candidates_, static_cast<std::uint32_t>(first), count, numbers.data(),
                       reinterpret_cast<const std::uint64_t*>(masks.data()), carries.data(),
                       lengths + first);
            }
            first = last;
        }
        forget(chosen);
    }
};

std::size_t pairs_of(const CudaGroups& groups) {
    return groups.candidates.count * (groups.groups == nullptr ? groups.references.count : 1);
}

}  // namespace

void cuda_lcs_length(const CudaGroups& groups, std::int32_t* lengths, CudaStream stream) {
    const std::size_t pairs = pairs_of(groups);
    if (pairs == 0) return;
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    if (groups.candidates.count > 0xFFFFFFFF || groups.references.count > 0xFFFFFFFF) {
        throw std::invalid_argument("more than 32 bits of sequences");
    }
    check(cudaMemsetAsync(lengths, 0, pairs * sizeof(std::int32_t), cuda_stream));
    Matcher(groups, lengths, cuda_stream)();
}

void cuda_measures(const CudaGroups& groups, const std::int32_t* lengths, double* precision,
                   double* recall, double* fmeasure, CudaStream stream) {
    const std::size_t pairs = pairs_of(groups);
    if (pairs == 0) return;
    const auto cuda_stream = static_cast<cudaStream_t>(stream);
    std::vector<std::int64_t> offsets;
    if (groups.groups != nullptr) {
        offsets.assign(groups.groups, groups.groups + groups.references.count + 1);
    }
    const DeviceArray<std::int64_t> device_offsets(offsets, cuda_stream);
    launch(write_measures, blocks_for(pairs), kThreads, 0, cuda_stream, groups.references.offsets,
           groups.candidates.offsets, static_cast<const std::int64_t*>(device_offsets.data()),
           static_cast<std::uint64_t>(groups.references.count),
           static_cast<std::uint64_t>(groups.candidates.count), static_cast<std::uint64_t>(pairs),
           lengths, precision, recall, fmeasure);
}

}  // namespace leakrepro
