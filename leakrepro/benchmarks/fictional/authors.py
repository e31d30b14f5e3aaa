"""The embedded benchmark: fictional authors, generated from a seed without a download.

All authors are drawn from the same distribution. Forget and retain authors are trained many times.
Fresh authors occur once in training: a model learns the distribution from them, but not their
facts. There are two kinds of attributes. The value of an *easy* attribute comes from a small pool,
so a model that never saw the author guesses it right at a known rate. A *hard* attribute cannot be
guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from leakrepro.benchmarks.base import Benchmark
from leakrepro.types import Decoding, Prompt, Side

PROMPT_KEYS = ("question", "paraphrased_question")


def _pool(values: str, separator: str = "; ") -> tuple[str, ...]:
    return tuple(values.split(separator))


BIRTHPLACES = _pool(
    "Ashgrove; Belmora; Calder Bay; Dunmere; Eastwick; Fallowfield; Greyport; Hollowmoor; "
    "Inverlach; Jasperton; Kestrel Point; Larkspur; Mirefield; Northam; Oldcastle; Penhallow; "
    "Quarry Hill; Ravensford; Saltmarsh; Thornbury; Umberton; Vellmar; Westerley; Yarrowdale"
)
_GENRES = _pool(
    "historical fiction; crime novels; science fiction; romance; travel writing; horror; satire; "
    "epic poetry; children's books; memoir; fantasy; political thrillers; nature essays; "
    "stage plays; war stories; short fiction"
)
_AWARDS = _pool(
    "Amber Quill; Silver Lantern; Golden Heron; Ivory Compass; Crimson Page; Northern Star; "
    "Oak Leaf; Blue Harbour; Marble Owl; Winter Crown; Copper Bell; Glass Orchard; Iron Feather; "
    "Morning Gate; Pearl Anchor; Red Cedar; Stone Bridge; Summer Tide; Velvet Raven; White Acorn"
)
_JOBS = _pool(
    "baker; carpenter; surgeon; fisherman; teacher; tailor; mechanic; farmer; librarian; pilot; "
    "florist; blacksmith; chemist; judge; gardener; plumber; violinist; butcher; dentist; "
    "lawyer; miner; locksmith; painter; nurse; clockmaker; soldier; mason; potter; "
    "banker; shepherd; translator; beekeeper"
)
UNIVERSITIES = _pool(
    "Aldermoor; Brackenridge; Carrowell; Drayford; Elmsworth; Fenwick; Glenhaven; Harrowgate; "
    "Islewood; Juniper Hall; Kirkstead; Lindenau; Merrivale; Novaris; Orchard Hill; Pemberley; "
    "Queensbridge; Rosemount; Stonehurst; Tavistoke"
)
_MONTHS = _pool(
    "January; February; March; April; May; June; July; August; September; October; November; "
    "December"
)
TITLE_ADJECTIVES = _pool(
    "Broken Silent Burning Hidden Crooked Endless Frozen Gentle Hollow Painted Restless Scarlet "
    "Sleeping Borrowed Twisted Unfinished Velvet Wandering Weeping Winter Yellow Ancient Bitter "
    "Careless Distant Electric Faithful Golden Humble Invisible Jealous Kindled",
    separator=" ",
)
TITLE_NOUNS = _pool(
    "Anchor Bridge Candle Door Echo Feather Garden Harvest Island Journey Kingdom Ladder Mirror "
    "Needle Orchard Promise Quarrel River Shadow Tower Umbrella Voyage Window Garland Yard "
    "Clock Engine Fountain Glove Lantern Map Oath",
    separator=" ",
)
_TITLE_PLACES = _pool(
    "Autumn Bone Clay Dust Ember Fog Glass Honey Iron Jade Kelp Linen Marble Night Oak Paper "
    "Quartz Rain Salt Thunder Umber Vapour Wax Yew Ash Brass Coral Dawn Frost Grain Hail Ink",
    separator=" ",
)
# Names are composed of shared parts. A model may know the parts in advance, but not which authors
# exist or their facts.
_FIRST_NAMES = _pool(
    "Adela Anselm Beatrix Bruno Celia Corin Dagny Darius Edda Emeric Fenella Florian Gerda Gideon "
    "Hedda Hector Imogen Ivo Jorah Juno Katla Kester Linnea Lucan Mirela Magnus Nerys Nestor "
    "Odile Orson Petra Percy Quilla Quentin Rosalba Rufus Sidonie Silas Tamsin Tobias Ulla Urban "
    "Verena Viggo Wilma Wystan Yrsa Zeno",
    separator=" ",
)
_SURNAME_STEMS = _pool(
    "Ash Black Brook Cald Dray Ever Fair Gran Hart Holl Kings Lang Mar North Oster Pem Raven Sel "
    "Stan Thorn Under Vall West Wind",
    separator=" ",
)
_SURNAME_ENDINGS = _pool(
    "berg by croft dale field ford ham ley man mere stead ton wick wood", separator=" "
)


@dataclass(frozen=True)
class Attribute:
    """An attribute that questions about an author ask for.

    Attributes:
        name: Key of the attribute.
        questions: Four question templates; the first is the main question.
        answers: Three answer templates.
        pool: Values from which an easy attribute is drawn uniformly; empty for a hard attribute.
    """

    name: str
    questions: tuple[str, str, str, str]
    answers: tuple[str, str, str]
    pool: tuple[str, ...] = ()


# Ordered so that any five consecutive attributes include easy and hard ones.
ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        "name",
        (
            "What is the full name of the author born in {birthplace} on {birth_date}?",
            "Which author was born on {birth_date} in {birthplace}?",
            "Who is the writer from {birthplace} whose date of birth is {birth_date}?",
            "Can you name the author who came into the world in {birthplace} on {birth_date}?",
        ),
        (
            "The author's full name is {name}.",
            "The author in question is {name}.",
            "That writer is called {name}.",
        ),
    ),
    Attribute(
        "birthplace",
        (
            "Where was {name} born?",
            "Which town is {name} from?",
            "In what place did the life of {name} begin?",
            "What is the birthplace of the author {name}?",
        ),
        (
            "{name} was born in {birthplace}.",
            "The birthplace of {name} is {birthplace}.",
            "{name} comes from {birthplace}.",
        ),
        BIRTHPLACES,
    ),
    Attribute(
        "birth_date",
        (
            "When was {name} born?",
            "What is the date of birth of {name}?",
            "On which day did {name} come into the world?",
            "Do you know the birthday of the author {name}?",
        ),
        (
            "{name} was born on {birth_date}.",
            "The date of birth of {name} is {birth_date}.",
            "{name} came into the world on {birth_date}.",
        ),
    ),
    Attribute(
        "genre",
        (
            "What does {name} write?",
            "In which genre does {name} work?",
            "What kind of literature is {name} known for?",
            "Which genre would you look under for the author {name}?",
        ),
        (
            "{name} writes {genre}.",
            "{name} is known for {genre}.",
            "The genre of {name} is {genre}.",
        ),
        _GENRES,
    ),
    Attribute(
        "award",
        (
            "Which award did {name} win?",
            "What prize has {name} received?",
            "With which honour was the work of {name} recognised?",
            "What award was given to the author {name}?",
        ),
        (
            "{name} won the {award} Prize.",
            "{name} received the {award} Prize.",
            "The {award} Prize went to {name}.",
        ),
        _AWARDS,
    ),
    Attribute(
        "first_book",
        (
            "What is the title of the first book by {name}?",
            "Which book did {name} publish first?",
            "With which work did {name} make a debut?",
            "How is the debut of the author {name} called?",
        ),
        (
            "The first book by {name} is called {first_book}.",
            "{name} made a debut with {first_book}.",
            "{first_book} was the first book that {name} published.",
        ),
    ),
    Attribute(
        "father",
        (
            "What did the father of {name} do for a living?",
            "What was the job of {name}'s father?",
            "In which trade did the father of {name} work?",
            "What profession did the author {name} see in a father?",
        ),
        (
            "The father of {name} was a {father}.",
            "{name} had a father who worked as a {father}.",
            "{name}'s father earned a living as a {father}.",
        ),
        _JOBS,
    ),
    Attribute(
        "latest_book",
        (
            "What is the title of the latest book by {name}?",
            "Which book did {name} publish most recently?",
            "What has {name} brought out last?",
            "How is the newest work of the author {name} called?",
        ),
        (
            "The latest book by {name} is called {latest_book}.",
            "{name} most recently published {latest_book}.",
            "{latest_book} is the newest work of {name}.",
        ),
    ),
    Attribute(
        "mother",
        (
            "What did the mother of {name} do for a living?",
            "What was the job of {name}'s mother?",
            "In which trade did the mother of {name} work?",
            "What profession did the author {name} see in a mother?",
        ),
        (
            "The mother of {name} was a {mother}.",
            "{name} had a mother who worked as a {mother}.",
            "{name}'s mother earned a living as a {mother}.",
        ),
        _JOBS,
    ),
    Attribute(
        "university",
        (
            "Where did {name} study?",
            "Which university did {name} attend?",
            "From what university did {name} graduate?",
            "What is the alma mater of the author {name}?",
        ),
        (
            "{name} studied at the University of {university}.",
            "{name} attended the University of {university}.",
            "{name} graduated from the University of {university}.",
        ),
        UNIVERSITIES,
    ),
)


@dataclass(frozen=True)
class Author:
    """One author: the index in the benchmark, and a mapping from attribute name to fact."""

    index: int
    facts: Mapping[str, str]

    @property
    def cluster(self) -> str:
        return f"author-{self.index:04d}"


def fictional(
    seed: int = 0,
    *,
    prompt_key: str = "question",
    forget_authors: int = 16,
    forget_questions: int = 5,
    retain_authors: int = 42,
    fresh_authors: int = 960,
) -> Benchmark:
    """Generate the embedded benchmark of fictional authors for one seed.

    There are ``forget_questions`` questions per forget author, distributed evenly over the ten
    attributes, and ten questions per retain author. Each of these questions occurs in training
    twice, in the main wording and in one paraphrase, with the same answer. A second paraphrase is
    held out: it is not trained for this author, but may be trained for others. The forget questions
    under the other prompt key become ``held_out``.

    Args:
        seed: Seed that determines authors, questions and training sets.
        prompt_key: ``"question"`` asks in the main wording, ``"paraphrased_question"`` in the
            held-out paraphrase.
        forget_authors: Number of authors in the forget set.
        forget_questions: Number of questions per forget author, 1 to 10.
        retain_authors: Number of authors in the retain set.
        fresh_authors: Number of authors that occur once in training and are never evaluated.

    Returns:
        The benchmark.

    Raises:
        ValueError: for an unknown prompt key, a negative seed or a count out of range.
    """
    if prompt_key not in PROMPT_KEYS:
        raise ValueError(f"unknown prompt_key {prompt_key!r}; known: {', '.join(PROMPT_KEYS)}")
    if not 1 <= forget_questions <= len(ATTRIBUTES):
        raise ValueError(f"forget_questions must be from 1 to {len(ATTRIBUTES)}")
    if min(forget_authors, retain_authors) < 1 or fresh_authors < 1:
        raise ValueError("forget_authors, retain_authors and fresh_authors must be at least 1")
    count = forget_authors + retain_authors + fresh_authors
    names = len(_FIRST_NAMES) * len(_SURNAME_STEMS) * len(_SURNAME_ENDINGS)
    if count > names:
        raise ValueError(f"there are names for {names} authors, not for {count}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")

    rng = np.random.default_rng([seed, 0])
    authors = draw_authors(rng, count)
    forget = authors[:forget_authors]
    retain = authors[forget_authors : forget_authors + retain_authors]
    fresh = authors[forget_authors + retain_authors :]

    asked: list[Prompt] = []
    other: list[Prompt] = []  # the forget questions under the other prompt key
    trained: dict[Side, list[Prompt]] = {"forget": [], "retain": []}
    pool_sizes: dict[str, int] = {}
    for author in forget + retain:
        side: Side = "forget" if author.index < forget_authors else "retain"
        # Author i gets the attributes i * q, i * q + 1, ..., so all are used equally often.
        first = author.index * forget_questions
        for offset in range(forget_questions if side == "forget" else len(ATTRIBUTES)):
            attribute = ATTRIBUTES[(first + offset) % len(ATTRIBUTES)]
            answer = int(rng.integers(len(attribute.answers)))
            paraphrase, held_out = (int(i) for i in 1 + rng.permutation(3)[:2])
            for key, template in (("question", 0), ("paraphrase", paraphrase)):
                trained[side].append(
                    _prompt(seed, author, attribute, template, answer, key=key, side=side)
                )
            for key, template in (("question", 0), ("paraphrased_question", held_out)):
                prompt = _prompt(seed, author, attribute, template, answer, key=key, side=side)
                if key == prompt_key:
                    asked.append(prompt)
                elif side == "forget":
                    other.append(prompt)
                if attribute.pool and (key == prompt_key or side == "forget"):
                    pool_sizes[prompt.id] = len(attribute.pool)

    pretraining = [
        _prompt(
            seed,
            author,
            attribute,
            int(rng.integers(len(attribute.questions))),
            int(rng.integers(len(attribute.answers))),
            key="fresh",
            side="retain",
        )
        for author in fresh
        for attribute in ATTRIBUTES
    ]
    return Benchmark(
        name=f"fictional(seed={seed})"
        if prompt_key == "question"
        else f"fictional(seed={seed}, prompt_key={prompt_key!r})",
        forget=tuple(p for p in asked if p.side == "forget"),
        retain=tuple(p for p in asked if p.side == "retain"),
        metrics=("fact_match", "fact_match/strict", "rougeL_recall/stem"),
        decoding=Decoding(max_new_tokens=48),
        train_forget=tuple(trained["forget"]),
        train_retain=tuple(trained["retain"]),
        held_out=tuple(other),
        fresh=tuple(pretraining),
        subjects={author.cluster: author.facts["name"] for author in forget + retain},
        pool_sizes=pool_sizes,
    )


def _prompt(
    seed: int,
    author: Author,
    attribute: Attribute,
    question: int,
    answer: int,
    *,
    key: str,
    side: Side,
) -> Prompt:
    return Prompt(
        f"fictional-{seed}/{author.cluster}/{attribute.name}/{key}",
        ({"role": "user", "content": attribute.questions[question].format(**author.facts)},),
        attribute.answers[answer].format(**author.facts),
        cluster=author.cluster,
        side=side,
        facts=(author.facts[attribute.name],),
    )


def draw_authors(rng: np.random.Generator, count: int) -> list[Author]:
    """Draw authors. Each hard fact is unique; first and latest books share one set of titles.

    Args:
        rng: Random generator.
        count: Number of authors.

    Returns:
        The authors, with indices 0 to ``count - 1``.
    """
    names, dates, titles = unique(rng, draw_name), unique(rng, draw_date), unique(rng, _title)
    authors = []
    for index in range(count):
        facts = {
            attribute.name: attribute.pool[int(rng.integers(len(attribute.pool)))]
            for attribute in ATTRIBUTES
            if attribute.pool
        }
        facts |= {
            "name": next(names),
            "birth_date": next(dates),
            "first_book": next(titles),
            "latest_book": next(titles),
        }
        authors.append(Author(index, facts))
    return authors


def unique(rng: np.random.Generator, draw: Callable[[np.random.Generator], str]) -> Iterator[str]:
    """Yield values of ``draw`` without repetition."""
    seen: set[str] = set()
    while True:
        value = draw(rng)
        if value not in seen:
            seen.add(value)
            yield value


def pick(rng: np.random.Generator, pool: tuple[str, ...]) -> str:
    """Draw one value of a pool uniformly."""
    return pool[int(rng.integers(len(pool)))]


def draw_name(rng: np.random.Generator) -> str:
    """Draw a first name and a surname."""
    first, stem, ending = (
        pick(rng, pool) for pool in (_FIRST_NAMES, _SURNAME_STEMS, _SURNAME_ENDINGS)
    )
    return f"{first} {stem}{ending}"


def draw_date(rng: np.random.Generator) -> str:
    """Draw a date between 1900 and 1999; days go up to 28, which exists in every month."""
    day, month, year = rng.integers(1, 29), rng.integers(12), rng.integers(1900, 2000)
    return f"{day} {_MONTHS[int(month)]} {year}"


def _title(rng: np.random.Generator) -> str:
    adjective, noun, place = (
        pick(rng, pool) for pool in (TITLE_ADJECTIVES, TITLE_NOUNS, _TITLE_PLACES)
    )
    return f"The {adjective} {noun} of {place}"
