#include "cuda/lcs.h"

#include <algorithm>
#include <vector>

#include "cuda/long.h"
#include "cuda/memory.h"
#include "cuda/short.h"
#include "cuda/table.h"

namespace leakrepro {
namespace {

// Of a slice, at most, unless one sequence alone has more tokens.
#ifndef LEAKREPRO_CUDA_SLICE  // tests make it small
#define LEAKREPRO_CUDA_SLICE (1 << 20)
#endif
constexpr std::int64_t kMostCandidates = LEAKREPRO_CUDA_SLICE;
constexpr std::int64_t kMostTokens = 64 * kMostCandidates;  // of candidates
constexpr std::int64_t kMostReferenceTokens = kMostCandidates;
constexpr std::int64_t kMostPairs = 64 * kMostCandidates;
constexpr std::int64_t kMostReferences = (1 << 15) - 1;  // a grid has fewer than 2^16 rows

// Tokens of references that 32 lanes match in one band.
constexpr std::int64_t kBand = 64 * kWarp;

struct Slice {
    std::int64_t reference, reference_end, candidate, candidate_end;
};

// The first end after `begin` whose items exceed one of the limits, and at least one item.
std::int64_t end_of_slice(const std::int64_t* offsets, std::int64_t begin, std::int64_t end,
                          std::int64_t most_items, std::int64_t most_tokens) {
    end = std::min(end, begin + most_items);
    const std::int64_t* past = std::upper_bound(offsets + begin, offsets + end + 1,
                                                offsets[begin] + most_tokens);
    return std::clamp<std::int64_t>(past - offsets - 1, begin + 1, end);
}

// Where a reference of several bands is, it is alone in its slice.
std::int64_t end_of_references(const CudaGroups& groups, std::int64_t begin, std::int64_t most) {
    const std::int64_t* offsets = groups.references.offsets;
    const auto count = static_cast<std::int64_t>(groups.references.count);
    std::int64_t end = end_of_slice(offsets, begin, count, kMostReferences, most);
    for (std::int64_t r = begin; r < end; ++r) {
        if (offsets[r + 1] - offsets[r] > kBand) end = std::max(r, begin + 1);
    }
    return end;
}

std::vector<Slice> cut(const CudaGroups& groups) {
    const auto references = static_cast<std::int64_t>(groups.references.count);
    const auto candidates = static_cast<std::int64_t>(groups.candidates.count);
    const std::int64_t* offsets = groups.candidates.offsets;
    std::vector<Slice> slices;
    for (std::int64_t r = 0; r < references;) {
        std::int64_t r_end, first = 0, last = candidates, most = kMostCandidates;
        if (groups.offsets == nullptr) {
            r_end = end_of_references(groups, r, kMostNumbers - 1);
            most = std::min(most, std::max<std::int64_t>(kMostPairs / (r_end - r), 1));
        } else {
            // As many references as have all their candidates in one slice, or one.
            first = groups.offsets[r];
            r_end = end_of_references(groups, r, kMostReferenceTokens);
            const std::int64_t c_end =
                first == candidates
                    ? first
                    : end_of_slice(offsets, first, candidates, kMostCandidates, kMostTokens);
            const std::int64_t* past =
                std::upper_bound(groups.offsets + r, groups.offsets + r_end + 1, c_end);
            r_end = std::clamp<std::int64_t>(past - groups.offsets - 1, r + 1, r_end);
            last = groups.offsets[r_end];
        }
        for (std::int64_t c = first; c < last;) {
            const std::int64_t c_end = end_of_slice(offsets, c, last, most, kMostTokens);
            slices.push_back({r, r_end, c, c_end});
            c = c_end;
        }
        r = r_end;
    }
    return slices;
}

// Offsets from `begin` on, starting at 0.
std::vector<std::int64_t> rebased(const std::int64_t* offsets, std::int64_t begin,
                                  std::int64_t end) {
    std::vector<std::int64_t> result(offsets + begin, offsets + end + 1);
    for (std::int64_t& offset : result) offset -= offsets[begin];
    return result;
}

// Ids of a slice on the device: copied there unless they already are.
template <class Id>
class SliceIds {
  public:
    SliceIds(const CudaSequences& sequences, bool there, std::int64_t begin, std::int64_t end,
             cudaStream_t stream)
        : source_(static_cast<const Id*>(sequences.ids) + sequences.offsets[begin]),
          copy_(there ? nullptr : source_,
                there ? 0
                      : static_cast<std::size_t>(sequences.offsets[end] - sequences.offsets[begin]),
                stream),
          there_(there) {}

    const Id* get() const { return there_ ? source_ : copy_.get(); }

  private:
    const Id* source_;
    Buffer<Id> copy_;
    bool there_;
};

// Tables of the references of a slice, and the numbers of their tokens.
template <class Id>
struct Numbered {
    Buffer<std::uint32_t> slots, numbers;

    Numbered(const References<Id>& references, std::int64_t tokens, bool own, cudaStream_t stream)
        : slots(static_cast<std::size_t>(2 * tokens), stream),
          numbers(static_cast<std::size_t>(tokens), stream) {
        if (tokens == 0) return;
        const auto bytes = static_cast<std::size_t>(2 * tokens) * sizeof(std::uint32_t);
        check(cudaMemsetAsync(slots.get(), 0, bytes, stream));
        const auto count = static_cast<unsigned>(references.count);
        constexpr unsigned kThreads = 64;
        launch(fill_tables<Id>, dim3(count), kThreads, stream, references, slots.get(), own);
        launch(number_references<Id>, dim3(count), kThreads, stream, references, slots.get(), own,
               numbers.get());
    }
};

template <class Id>
class Matcher {
  public:
    Matcher(const CudaGroups& groups, cudaStream_t stream, std::int32_t* lengths)
        : groups_(groups),
          stream_(stream),
          lengths_(lengths),
          references_there_(on_device(groups.references.ids)),
          candidates_there_(on_device(groups.candidates.ids)),
          lengths_there_(on_device(lengths)) {}

    void operator()(const Slice& slice) {
        const bool all = groups_.offsets == nullptr;
        const auto references = static_cast<std::int32_t>(slice.reference_end - slice.reference);
        const auto candidates = static_cast<std::int32_t>(slice.candidate_end - slice.candidate);
        const SliceIds<Id> reference_ids(groups_.references, references_there_, slice.reference,
                                         slice.reference_end, stream_);
        const SliceIds<Id> candidate_ids(groups_.candidates, candidates_there_, slice.candidate,
                                         slice.candidate_end, stream_);
        const std::vector<std::int64_t> reference_offsets =
            rebased(groups_.references.offsets, slice.reference, slice.reference_end);
        const std::vector<std::int64_t> candidate_offsets =
            rebased(groups_.candidates.offsets, slice.candidate, slice.candidate_end);
        const Buffer<std::int64_t> references_there(reference_offsets.data(),
                                                    reference_offsets.size(), stream_);
        const Buffer<std::int64_t> candidates_there(candidate_offsets.data(),
                                                    candidate_offsets.size(), stream_);
        std::vector<std::int64_t> groups;
        if (!all) {
            for (std::int64_t r = slice.reference; r <= slice.reference_end; ++r) {
                groups.push_back(std::clamp(groups_.offsets[r], slice.candidate,
                                            slice.candidate_end) - slice.candidate);
            }
        }

        // Where the slice's lengths go: straight to their place, or by a buffer.
        const auto total = static_cast<std::int64_t>(groups_.candidates.count);
        std::int32_t* const place =
            lengths_ + (all ? slice.reference * total : 0) + slice.candidate;
        const std::int32_t rows = all ? references : 1;
        const Buffer<std::int32_t> buffer(
            lengths_there_ ? 0 : static_cast<std::size_t>(rows) * static_cast<std::size_t>(candidates),
            stream_);
        const Out out{lengths_there_ ? place : buffer.get(),
                      !all ? 0 : lengths_there_ ? total : candidates};

        const References<Id> its_references{reference_ids.get(), references_there.get(),
                                            references};
        const Longest longest_reference = longest(reference_offsets, kShortReference);
        const Longest longest_candidate = longest(candidate_offsets, kShortCandidate);
        if (longest_reference.some_short && longest_candidate.some_short) {
            const Candidates<Id> short_ones{candidate_ids.get(), candidate_offsets,
                                            candidates_there.get(), groups};
            const Numbered<Id> numbered(its_references, reference_offsets.back(), !all, stream_);
            if (all) {
                run_short<std::uint16_t>(its_references, numbered, short_ones, reference_offsets,
                                         out);
            } else {
                run_short<std::uint8_t>(its_references, numbered, short_ones, reference_offsets,
                                        out);
            }
        }
        if (longest_reference.length > kShortReference ||
            longest_candidate.length > kShortCandidate) {
            const Numbered<Id> numbered(its_references, reference_offsets.back(), true, stream_);
            const Buffer<std::int64_t> groups_there(groups.data(), groups.size(), stream_);
            const LongPairs<Id> pairs{its_references,         numbered.slots.get(),
                                      candidate_ids.get(),    candidates_there.get(),
                                      candidates,             groups_there.get()};
            run_long(pairs, numbered.numbers.get(), reference_offsets.back(),
                     candidate_offsets.back(), longest_reference.length, out);
        }
        if (!lengths_there_) {
            const auto row = static_cast<std::size_t>(candidates) * sizeof(std::int32_t);
            check(cudaMemcpy2DAsync(place, static_cast<std::size_t>(total) * sizeof(std::int32_t),
                                    buffer.get(), row, row, static_cast<std::size_t>(rows),
                                    cudaMemcpyDefault, stream_));
        }
        check(cudaStreamSynchronize(stream_));
    }

  private:
    struct Out {
        std::int32_t* lengths;
        std::int64_t stride;
    };
    struct Longest {
        std::int64_t length;
        bool some_short;
    };
    template <class AnyId>
    struct Candidates {
        const AnyId* ids;
        const std::vector<std::int64_t>& offsets;
        const std::int64_t* offsets_there;
        const std::vector<std::int64_t>& groups;
    };

    const CudaGroups& groups_;
    const cudaStream_t stream_;
    std::int32_t* const lengths_;
    const bool references_there_, candidates_there_, lengths_there_;

    static Longest longest(const std::vector<std::int64_t>& offsets, std::int64_t is_short) {
        Longest result{0, false};
        for (std::size_t i = 0; i + 1 < offsets.size(); ++i) {
            const std::int64_t length = offsets[i + 1] - offsets[i];
            result.length = std::max(result.length, length);
            result.some_short = result.some_short || length <= is_short;
        }
        return result;
    }

    // Appends the tiles of candidates `begin` up to `end`; returns where the next chunk is free.
    template <class Item>
    static std::int64_t add_tiles(const std::vector<std::int64_t>& offsets, std::int64_t begin,
                                  std::int64_t end, std::int32_t reference, std::int64_t chunk,
                                  std::vector<Tile>& tiles) {
        for (std::int64_t first = begin; first < end; first += kTile) {
            const std::int64_t last = std::min<std::int64_t>(first + kTile, end);
            tiles.push_back({chunk, static_cast<std::int32_t>(first),
                             static_cast<std::int32_t>(last - first), reference});
            // Sorted, no candidate of a warp has more chunks than any of the warp before.
            std::int64_t most = 0;
            for (std::int64_t i = first; i < last; ++i) {
                const auto c = static_cast<std::size_t>(i);
                const std::int64_t length = offsets[c + 1] - offsets[c];
                if (length > kShortCandidate) continue;
                const std::int64_t chunks = (length + kItems<Item> - 1) / kItems<Item>;
                most = std::max(most, chunks);
                chunk += chunks;
            }
            chunk += most * std::min<std::int64_t>(last - first, kWarp);
        }
        return chunk;
    }

    template <class Item>
    void run_short(const References<Id>& references, const Numbered<Id>& numbered,
                   const Candidates<Id>& candidates,
                   const std::vector<std::int64_t>& reference_offsets, const Out& out) {
        std::vector<Tile> tiles;
        std::int64_t chunks = 0;
        const auto count = static_cast<std::int64_t>(candidates.offsets.size()) - 1;
        if (candidates.groups.empty()) {
            chunks = add_tiles<Item>(candidates.offsets, 0, count, -1, chunks, tiles);
        }
        for (std::size_t r = 0; r + 1 < candidates.groups.size(); ++r) {
            if (reference_offsets[r + 1] - reference_offsets[r] > kShortReference) continue;
            chunks = add_tiles<Item>(candidates.offsets, candidates.groups[r],
                                     candidates.groups[r + 1], static_cast<std::int32_t>(r), chunks,
                                     tiles);
        }
        const auto blocks = static_cast<unsigned>(tiles.size());
        const Buffer<Tile> tiles_there(tiles.data(), tiles.size(), stream_);
        const Buffer<uint4> packed_ids(static_cast<std::size_t>(chunks), stream_);
        const Buffer<Packed> packed(tiles.size() * kTileWarps, stream_);
        const Buffer<std::int32_t> order(tiles.size() * kTile, stream_);
        launch(pack<Id, Item>, dim3(blocks), kTile, stream_, tiles_there.get(), candidates.ids,
               candidates.offsets_there, references, numbered.slots.get(), packed_ids.get(),
               packed.get(), order.get());
        // Enough blocks to fill any device; each clears its table once.
        constexpr unsigned kBlocks = 1 << 14;
        unsigned rows = 1;
        if (sizeof(Item) == 2) {
            rows = std::min(static_cast<unsigned>(references.count),
                            std::max(1u, kBlocks / std::max(1u, blocks)));
        }
        launch(match_short<Item>, dim3(blocks, rows), kTile, stream_, tiles_there.get(),
               packed.get(), order.get(), packed_ids.get(), references.offsets, references.count,
               numbered.numbers.get(), out.lengths, out.stride);
    }

    void run_long(const LongPairs<Id>& pairs, const std::uint32_t* numbers, std::int64_t tokens,
                  std::int64_t candidate_tokens, std::int64_t longest, const Out& out) {
        std::int64_t lanes = 2;
        while (lanes < static_cast<std::int64_t>(kWarp) && 64 * lanes < longest) lanes *= 2;
        const std::int64_t bands = std::max<std::int64_t>((longest + kBand - 1) / kBand, 1);
        const Buffer<unsigned long long> masks(static_cast<std::size_t>(tokens * lanes), stream_);
        const Buffer<std::uint8_t> carries(
            bands > 1 ? static_cast<std::size_t>(candidate_tokens) : 0, stream_);
        const auto references = static_cast<unsigned>(pairs.references.count);
        const auto per_block = kLongThreads / lanes;
        const dim3 blocks(
            static_cast<unsigned>((pairs.candidates + per_block - 1) / per_block),
            groups_.offsets == nullptr ? references : 1);
        for (std::int32_t band = 0; band < bands; ++band) {
            if (tokens > 0) {
                check(cudaMemsetAsync(masks.get(), 0,
                                      static_cast<std::size_t>(tokens * lanes) * sizeof(std::uint64_t),
                                      stream_));
                launch(set_masks, dim3(references), kLongThreads, stream_,
                       pairs.references.offsets, numbers, band, static_cast<int>(lanes),
                       masks.get());
            }
            launch(kernel_of(lanes), blocks, kLongThreads, stream_, pairs, masks.get(), band,
                   carries.get(), out.lengths, out.stride);
        }
    }

    static auto kernel_of(std::int64_t lanes) {
        switch (lanes) {
            case 2: return match_long<Id, 2>;
            case 4: return match_long<Id, 4>;
            case 8: return match_long<Id, 8>;
            case 16: return match_long<Id, 16>;
            default: return match_long<Id, 32>;
        }
    }
};

// Makes a device the current one, until it goes.
class Current {
  public:
    explicit Current(int device) {
        check(cudaGetDevice(&before_));
        check(cudaSetDevice(device));
    }
    ~Current() { cudaSetDevice(before_); }
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;

  private:
    int before_;
};

template <class Id>
void match(const CudaGroups& groups, cudaStream_t stream, const std::function<void()>& poll,
           std::int32_t* lengths) {
    Matcher<Id> matcher(groups, stream, lengths);
    for (const Slice& slice : cut(groups)) {
        poll();
        matcher(slice);
    }
}

}  // namespace

void cuda_lcs_length(const CudaGroups& groups, const CudaPlace& place,
                     const std::function<void()>& poll, std::int32_t* lengths) {
    if (groups.references.count == 0 || groups.candidates.count == 0) return;
    const Current current(place.device);
    const auto stream = static_cast<cudaStream_t>(place.stream);
    switch (groups.width) {
        case 1: return match<std::uint8_t>(groups, stream, poll, lengths);
        case 2: return match<std::uint16_t>(groups, stream, poll, lengths);
        case 4: return match<std::uint32_t>(groups, stream, poll, lengths);
        default: return match<std::uint64_t>(groups, stream, poll, lengths);
    }
}

}  // namespace leakrepro
