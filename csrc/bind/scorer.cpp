#include "scorer/scorer.h"

#include <pybind11/stl.h>

#include <optional>

#include "bind/bind.h"
#include "bind/groups.h"
#include "bind/python.h"
#include "text/cache.h"

namespace py = pybind11;

namespace leakrepro {
namespace {

using Types = std::vector<RougeType>;

// (precision, recall, fmeasure) for each type; integers if rouge_score returns integers.
py::list as_tuples(const std::vector<SummaryScore>& scores) {
    py::list result(scores.size());
    for (std::size_t i = 0; i < scores.size(); ++i) {
        const SummaryScore& score = scores[i];
        if (score.is_empty) {
            result[i] = py::make_tuple(0, 0, 0);
        } else {
            result[i] = py::make_tuple(score.precision, score.recall, score.fmeasure);
        }
    }
    return result;
}

std::vector<Text> views(const std::vector<py::str>& texts) {
    std::vector<Text> result;
    for (const py::str& text : texts) result.push_back(view(text));
    return result;
}

using TextSentences = std::optional<std::vector<py::str>>;

py::list py_score(const Types& types, const py::str& target, const py::str& prediction,
                  const TextSentences& target_sentences, const TextSentences& prediction_sentences,
                  bool stem, const std::string& name) {
    const Implementation& chosen = implementation(name);
    const auto cut = [](const TextSentences& sentences) {
        return sentences ? std::optional(views(*sentences)) : std::nullopt;
    };
    const std::optional<std::vector<Text>> target_cut = cut(target_sentences);
    const std::optional<std::vector<Text>> prediction_cut = cut(prediction_sentences);
    const Text target_text = view(target), prediction_text = view(prediction);

    // Releasing the GIL pays off only for long texts.
    constexpr std::size_t kLong = 10000;
    std::optional<py::gil_scoped_release> no_gil;
    if (target_text.length + prediction_text.length > kLong) no_gil.emplace();
    std::unique_ptr<Words> words = take_words(stem);
    SummaryReader reader(chosen);
    SummaryScorer scorer(types, chosen);
    const auto read = [&](const Text& text, const std::optional<std::vector<Text>>& sentences) {
        Summary summary;
        if (sentences) {
            reader(text, *sentences, words->vocabulary, summary);
        } else {
            reader(text, words->vocabulary, summary);
        }
        words->resize_classes();
        return summary;
    };
    Summary reference = read(target_text, target_cut);
    Summary candidate = read(prediction_text, prediction_cut);
    scorer.set_reference(reference, words->class_of);
    const std::vector<SummaryScore> scores = scorer(candidate);
    scorer.end_reference();
    give_words(std::move(words), stem);
    no_gil.reset();
    return as_tuples(scores);
}

using Numbers = std::vector<std::uint32_t>;

// Tokens as numbers from 0 to `different` - 1, for the whole text and for each sentence.
py::list py_score_ids(const Types& types, Numbers target, Numbers prediction,
                      const std::vector<Numbers>& target_sentences,
                      const std::vector<Numbers>& prediction_sentences, std::size_t different,
                      const std::string& name) {
    const auto summary = [&](Numbers& tokens, const std::vector<Numbers>& sentences) {
        Summary result;
        result.tokens = std::move(tokens);
        for (const Numbers& sentence : sentences) {
            Numbers& all = result.sentences.tokens;
            all.insert(all.end(), sentence.begin(), sentence.end());
            result.sentences.ends.push_back(all.size());
        }
        for (const Numbers* numbers : {&result.tokens, &result.sentences.tokens}) {
            for (std::uint32_t number : *numbers) {
                if (number >= different) throw py::value_error("a number is not below `different`");
            }
        }
        return result;
    };
    Summary reference = summary(target, target_sentences);
    Summary candidate = summary(prediction, prediction_sentences);
    std::vector<std::uint32_t> class_of(different);
    SummaryScorer scorer(types, implementation(name));
    scorer.set_reference(reference, class_of);
    return as_tuples(scorer(candidate));
}

// `out` gets, for each type, the precisions, recalls and F-measures of all candidates.
void py_score_batch(const Types& types, const py::object& references, const py::object& candidates,
                    Output<double> out, bool stem, std::size_t threads, const std::string& name) {
    const Implementation& chosen = implementation(name);
    const HeldGroups held(references, candidates);
    const std::size_t pairs = held.candidates.texts.size();
    double* next = writable(out, 3 * types.size() * pairs);
    std::vector<Measures> measures;
    for (std::size_t t = 0; t < types.size(); ++t, next += 3 * pairs) {
        measures.push_back({next, next + pairs, next + 2 * pairs});
    }
    const py::gil_scoped_release no_gil;
    score_summaries(held.view(), types, stem, chosen, threads, SignalPoll(), measures);
}

}  // namespace

void bind_scorer(py::module_& module) {
    module.def("score", &py_score, py::arg("types"), py::arg("target"), py::arg("prediction"),
               py::arg("target_sentences"), py::arg("prediction_sentences"), py::kw_only(),
               py::arg("stem"), py::arg("implementation"));
    module.def("score_ids", &py_score_ids, py::arg("types"), py::arg("target"),
               py::arg("prediction"), py::arg("target_sentences"),
               py::arg("prediction_sentences"), py::arg("different"), py::kw_only(),
               py::arg("implementation"));
    module.def("score_batch", &py_score_batch, py::arg("types"), py::arg("references"),
               py::arg("candidates"), py::arg("out").noconvert(), py::kw_only(), py::arg("stem"),
               py::arg("threads"), py::arg("implementation"));
}

}  // namespace leakrepro
