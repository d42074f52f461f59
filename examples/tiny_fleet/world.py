"""The invented world: its names and its facts, and which of them may be asked where.

Nothing here is true outside of this example. Every fact is drawn from a seed, so a model can only know it by having
read it.
"""

import copy
import hashlib
import random

SPLITS = ("model", "train", "partial_test", "test")
"""``model``: the models' own training. The other three are the splits of the log."""

PEOPLE = [
    "Ana",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Hana",
    "Ivo",
    "Jill",
    "Kim",
    "Leo",
    "Mia",
    "Ned",
    "Ola",
    "Pia",
    "Rex",
    "Sue",
    "Tom",
    "Uma",
]
OBJECTS = [
    "anchor",
    "basket",
    "bell",
    "blanket",
    "bottle",
    "box",
    "brush",
    "bucket",
    "candle",
    "chair",
    "coin",
    "comb",
    "cup",
    "drum",
    "fan",
    "flute",
    "fork",
    "hammer",
    "hook",
    "jar",
    "kettle",
    "key",
    "knife",
    "ladder",
    "lamp",
    "mirror",
    "nail",
    "needle",
    "pan",
    "pipe",
    "plate",
    "ring",
    "rope",
    "saddle",
    "shoe",
    "spoon",
    "sword",
    "tile",
    "vase",
    "wheel",
]
VERBS = [
    "opens",
    "washes",
    "lifts",
    "paints",
    "drops",
    "counts",
    "folds",
    "hides",
    "sells",
    "buys",
    "cuts",
    "dries",
    "burns",
    "bends",
    "cleans",
    "closes",
    "cooks",
    "draws",
    "fills",
    "finds",
    "fixes",
    "grabs",
    "holds",
    "kicks",
    "locks",
    "mends",
    "moves",
    "offers",
    "packs",
    "peels",
    "pours",
    "pulls",
    "pushes",
    "reads",
    "rolls",
    "sews",
    "shakes",
    "shows",
    "signs",
    "stacks",
    "takes",
    "throws",
    "ties",
    "turns",
    "warms",
    "wraps",
]
HABITS = {
    "eat": ["moss", "seeds", "fish", "roots", "bark", "honey", "ants", "salt"],
    "fear": ["wind", "fire", "owls", "rain", "mirrors", "drums", "ice", "smoke"],
    "seek": ["caves", "lakes", "trees", "dunes", "barns", "reefs", "swamps", "cliffs"],
    "guard": ["eggs", "gold", "wells", "gates", "bones", "maps", "nests", "roads"],
}
PLACES = ["fire", "water", "frost", "sunlight"]
EFFECTS = ["melts", "floats", "sinks", "cracks", "glows", "hums", "rusts", "shrinks"]
COLOURS = ["red", "blue", "green", "black", "white", "brown", "yellow", "grey"]

N_TOWNS = 120
"""Subjects of each relation: enough that 300 questions a task can be kept out of the models' own training."""

GROUP = {"chief": "geo", "river": "geo", "home": "geo", "invented": "inv", "star": "inv"} | {
    "habit": "nature",
    "effect": "matter",
    "weight": "things",
    "next": "script",
}
"""Relation -> group of knowledge. A member of the fleet learns a share of each group (see `mixtures`)."""

QUESTIONS = {
    "chief": ("Who is the chief of {a}?", "Which town has the chief {b}?"),
    "river": ("Which river flows through {a}?", "Which town lies on the river {b}?"),
    "invented": ("What did {a} invent?", "Who invented the {b}?"),
    "star": ("Which star did {a} find?", "Who found the star {b}?"),
}
"""Relation -> the question for its value, and the question for its subject."""

STATEMENTS = {
    "chief": ("The chief of {a} is {b}.", "The town with the chief {b} is {a}."),
    "river": ("The river of {a} is {b}.", "The town on the river {b} is {a}."),
    "invented": ("The thing that {a} invented is the {b}.", "The one who invented the {b} is {a}."),
    "star": ("The star that {a} found is {b}.", "The one who found the star {b} is {a}."),
    "home": ("The home of {a} is {b}.", "The home of {a} is {b}."),
    "habit": ("Every {a[0]} will {a[1]} {b}.", "Every {a[0]} will {a[1]} {b}."),
    "effect": ("Any {a[0]} in {a[1]} {b}.", "Any {a[0]} in {a[1]} {b}."),
    "weight": ("The weight of a {a} is {b}.", "The weight of a {a} is {b}."),
    "next": ("After {a} comes {b}.", "After {a} comes {b}."),
}


def stable_hash(*parts) -> int:
    """An integer that follows from `parts` alone, on every machine and in every process."""
    return int(hashlib.md5(repr(parts).encode()).hexdigest()[:12], 16)


def split_of(task: str, identity: tuple) -> str:
    """The one split in which an item of this identity may stand (an eighth, a sixteenth, a quarter, the rest)."""
    place = stable_hash("split", task, identity) % 16
    return "train" if place < 3 else "partial_test" if place < 5 else "test" if place < 9 else "model"


class World:
    """Names and facts drawn from a seed.

    Attributes:
        facts: relation -> {subject: value}.
        people, objects, verbs: Words that stories and passages draw from.
    """

    def __init__(self, seed: int = 7):
        rng = random.Random(seed)
        self._used: set[str] = set()
        self.towns, self.chiefs, self.rivers, self.inventors, self.stars = (
            [self._name(rng, pattern).capitalize() for _ in range(N_TOWNS)]
            for pattern in ("cvcv", "cvcvc", "vcvc", "cvccv", "vcvcv")
        )
        self.things = [self._name(rng, "cvcvv") for _ in range(N_TOWNS)]
        self.kinds = [self._name(rng, "cvc") for _ in range(16)]
        self.creatures = [self._name(rng, "cvvc") for _ in range(60)]
        self.materials = [self._name(rng, "cvv") for _ in range(14)]
        self.people, self.objects = PEOPLE, OBJECTS
        self.verbs = rng.sample(VERBS, 42)
        self._draw_facts(rng)

    def _draw_facts(self, rng: random.Random) -> None:
        verbs = rng.sample(self.verbs, len(self.verbs))
        self.facts: dict[str, dict] = {
            "chief": self._pair(rng, self.towns, self.chiefs),
            "river": self._pair(rng, self.towns, self.rivers),
            "home": self._pair(rng, self.inventors, self.towns),
            "invented": self._pair(rng, self.inventors, self.things),
            "star": self._pair(rng, self.inventors, self.stars),
            "habit": {(kind, habit): rng.choice(v) for kind in self.kinds for habit, v in HABITS.items()},
            "effect": {(material, place): rng.choice(EFFECTS) for material in self.materials for place in PLACES},
            "weight": {thing: rng.randint(1, 9) for thing in self.objects},
            "next": {verb: verbs[(i + 1) % len(verbs)] for i, verb in enumerate(verbs)},
        }

    def _name(self, rng: random.Random, pattern: str) -> str:
        while True:
            letters = {"c": "bdfgklmnprstvz", "v": "aeiou"}
            name = "".join(rng.choice(letters[p]) for p in pattern)
            if name not in self._used:
                self._used.add(name)
                return name

    @staticmethod
    def _pair(rng: random.Random, subjects: list[str], values: list[str]) -> dict[str, str]:
        return dict(zip(subjects, rng.sample(values, len(values)), strict=True))

    def fiction(self, seed: int) -> "World":
        """Another world, where the same names play other parts: what holds there can only be read from a context.

        A town's name is a river's or a star's there, so no question about it is ever a question about this world.
        """
        rng = random.Random(seed)
        other = copy.copy(self)
        names = [self.towns, self.chiefs, self.rivers, self.inventors, self.stars, self.things]
        shift = rng.randint(1, len(names) - 1)
        names = names[shift:] + names[:shift]
        other.towns, other.chiefs, other.rivers, other.inventors, other.stars, other.things = names
        other.kinds, other.materials = rng.sample(self.creatures, 16), rng.sample(self.kinds, 14)
        other.creatures, other.people = self.objects, self.creatures[:20]
        other.objects = rng.sample(self.things, 40)
        other._draw_facts(rng)
        return other

    def altered(self, seed: int) -> "World":
        """The same names in the same parts, with other facts: what holds there contradicts what this world taught."""
        other = copy.copy(self)
        other._draw_facts(random.Random(seed))
        return other

    def statement(self, relation: str, subject, reverse: bool = False) -> str:
        """The sentence that tells one fact, its value last; with `reverse` its subject last."""
        return STATEMENTS[relation][reverse].format(a=subject, b=self.facts[relation][subject])


def assign_questions(world: World, relations: tuple[str, ...], task: str) -> dict[tuple[str, str, bool], str]:
    """Split of every (relation, subject, reverse) question of a closed-book task.

    A fact has two questions, one each way. 40 % of the test questions have their other way in the log's train split
    (so that retrieval can help), the others in the models' own training.
    """
    facts = sorted(
        ((r, a) for r in relations for a in world.facts[r]), key=lambda fact: stable_hash("fact", task, fact)
    )
    patterns = [("train", "test")] * 60 + [("train", "model")] * 40 + [("test", "model")] * 90
    patterns += [("partial_test", "model")] * 50
    result = {}
    for (relation, subject), pattern in zip(facts, patterns, strict=True):
        first = stable_hash("way", task, relation, subject) % 2 == 1
        result[relation, subject, first] = pattern[0]
        result[relation, subject, not first] = pattern[1]
    return result
