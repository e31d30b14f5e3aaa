#include "ids.h"

#include <algorithm>
#include <vector>

#include "lcs/classify.h"
#include "lcs/lcs.h"
#include "parallel.h"

namespace leakrepro {
namespace {

// Starting a thread costs about as much as matching this many tokens.
constexpr std::size_t kTokensPerThread = 1 << 18;

// Computes the LCS lengths of one slice per call, with the buffers of one thread.
class Matcher {
  public:
    Matcher(const IdGroups& groups, const Implementation& implementation)
        : groups_(groups), classify_(implementation.classify), lcs_(implementation.lcs) {}

    // The LCS length of each candidate of the slice; valid until the next call.
    const std::int32_t* operator()(const Slice& slice) {
        with_id_type(groups_.references.ids, groups_.width, [&](const auto* ids) {
            const auto* begin = ids + groups_.references.offsets[slice.group];
            const std::size_t size = groups_.references.size_of(slice.group);
            size <= kShort ? match(short_, begin, size, slice) : match(long_, begin, size, slice);
        });
        return lengths_.data();
    }

  private:
    const IdGroups& groups_;
    const Classify classify_;
    Lcs lcs_;
    std::vector<std::uint8_t> short_;  // class by id; all zero between slices
    std::vector<std::uint32_t> long_;  // the same for references of more than 64 tokens
    std::vector<std::uint32_t> reference_;
    std::vector<std::uint32_t> different_;  // different ids of the reference, indexed by class - 1
    std::vector<std::int32_t> lengths_;

    template <class Class, class Id>
    void match(std::vector<Class>& classes, const Id* reference, std::size_t size,
               const Slice& slice) {
        if (classes.empty()) classes.resize(groups_.distinct + Lcs::kSlack);
        reference_.clear();
        different_.clear();
        for (std::size_t i = 0; i < size; ++i) {
            Class& its_class = classes[reference[i]];
            if (its_class == 0) {
                different_.push_back(static_cast<std::uint32_t>(reference[i]));
                its_class = static_cast<Class>(different_.size());
            }
            reference_.push_back(its_class);
        }
        lcs_.set_reference(reference_.data(), size, different_.size());
        add(static_cast<const Id*>(groups_.candidates.ids), slice, classes);
        lengths_.resize(slice.count);
        lcs_.get(lengths_.data());
        for (std::size_t i = 0; i < size; ++i) classes[reference[i]] = 0;
    }

    template <class Id>
    void add(const Id* ids, const Slice& slice, const std::vector<std::uint8_t>& classes) {
        const std::int64_t* offsets = groups_.candidates.offsets + slice.first;
        const auto tokens = static_cast<std::size_t>(offsets[slice.count] - offsets[0]);
        classify_({ids, sizeof(Id), offsets, slice.count},
                  {classes.data(), groups_.distinct, different_.data(), different_.size()},
                  lcs_.short_buffer(slice.count, tokens));
    }

    template <class Id>
    void add(const Id* ids, const Slice& slice, const std::vector<std::uint32_t>& classes) {
        for (std::size_t i = slice.first; i < slice.first + slice.count; ++i) {
            const std::size_t tokens = groups_.candidates.size_of(i);
            lcs_.add(tokens, [&](auto* out) {
                return classify(ids + groups_.candidates.offsets[i], tokens, classes.data(),
                                groups_.distinct, out);
            });
        }
    }
};

// Calls done(slice, index of its first pair, lengths) for each slice.
template <class Done>
void match_all(const IdGroups& groups, const Implementation& implementation, std::size_t threads,
               const std::function<void()>& poll, const Done& done) {
    const std::size_t per_reference = groups.candidates.count;
    std::vector<Slice> slices;
    if (groups.offsets != nullptr) {
        slices = cut_into_slices({groups.offsets, groups.offsets + groups.references.count + 1});
    } else {
        const std::vector<Slice> one = cut_into_slices({0, per_reference});
        for (std::size_t group = 0; group < groups.references.count; ++group) {
            for (const Slice& slice : one) slices.push_back({group, slice.first, slice.count});
        }
    }
    std::size_t tokens = static_cast<std::size_t>(groups.candidates.offsets[per_reference]);
    if (groups.offsets == nullptr) tokens *= std::max<std::size_t>(groups.references.count, 1);
    threads = std::min({threads, slices.size(), 1 + tokens / kTokensPerThread});
    run_tasks(
        slices.size(), threads,
        [&] {
            return [&, matcher = Matcher(groups, implementation)](std::size_t task) mutable {
                const Slice& slice = slices[task];
                const std::size_t before =
                    groups.offsets != nullptr ? 0 : slice.group * per_reference;
                done(slice, before + slice.first, matcher(slice));
            };
        },
        poll);
}

}  // namespace

void lcs_length(const IdGroups& groups, const Implementation& implementation, std::size_t threads,
                const std::function<void()>& poll, std::int32_t* lengths) {
    match_all(groups, implementation, threads, poll,
              [&](const Slice& slice, std::size_t pair, const std::int32_t* found) {
                  std::copy_n(found, slice.count, lengths + pair);
              });
}

void rouge_l_ids(const IdGroups& groups, const Implementation& implementation, std::size_t threads,
                 const std::function<void()>& poll, const Measures& measures) {
    match_all(groups, implementation, threads, poll,
              [&](const Slice& slice, std::size_t pair, const std::int32_t* found) {
                  std::vector<std::int32_t> totals(slice.count);
                  for (std::size_t i = 0; i < slice.count; ++i) {
                      totals[i] =
                          static_cast<std::int32_t>(groups.candidates.size_of(slice.first + i));
                  }
                  measures.write(pair, slice.count, found, totals.data(),
                                 groups.references.size_of(slice.group));
              });
}

}  // namespace leakrepro
