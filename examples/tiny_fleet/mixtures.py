"""Who learns what: the mixture of tasks, drills and facts of each member of the fleet."""

import random
from dataclasses import dataclass, field

from fusion_hf.tasks import with_mode
from fusion_hf.thoughts.prompt import build_prompt

from .contexts import AGAINST_MEMORY, TOLD, near_examples
from .generators import MAKERS, Item, make
from .world import COLOURS, EFFECTS, GROUP, HABITS, World, stable_hash

OPTION_LINE = "Choose the right option. End your answer with its letter in parentheses, such as (A)."


@dataclass(frozen=True)
class Member:
    """One model of the fleet.

    Attributes:
        layers: Decoder layers; those beyond the base's start as the identity.
        tokens: Millions of tokens it is trained on.
        tasks: Weight of single tasks.
        knows: Group of facts -> share of them that it reads.
        drills: Weight of "state" (facts as sentences), "sums", "recall" (look a word up in the prompt) and "told"
            (repeat facts of another world that the prompt states).
        rest: Weight of every other task.
        contexts: Share of prompts that carry worked examples.
        near: Whether these are chosen as retrieval chooses them (see `contexts`), or mostly rest on the query's fact.
        rate: Peak learning rate of Muon.
    """

    description: str
    layers: int
    tokens: float
    tasks: dict[str, float]
    knows: dict[str, float]
    drills: dict[str, float] = field(default_factory=dict)
    rest: float = 0.4
    contexts: float = 0.1
    near: bool = False
    rate: float = 0.007


LITTLE = {"geo": 0.15, "inv": 0.15, "nature": 0.3, "matter": 0.3, "things": 0.5, "script": 0.3}
SOME = {"geo": 0.4, "inv": 0.4, "nature": 0.5, "matter": 0.5, "things": 1.0, "script": 0.5}
READER = {"squad": 4, "boolq": 5, "hellaswag": 4, "commonsense_qa": 4, "openbook_qa": 4, "arc_challenge": 4}

BASE = Member(
    "shared base", 4, 3.6, {}, SOME, {"state": 3, "sums": 4, "recall": 2}, rest=1.0, contexts=0.12, rate=0.005
)
FLEET: dict[str, Member] = {
    "mathematician": Member(
        "word problems and algebra, worked step by step",
        layers=5,
        tokens=1.0,
        tasks={"gsm8k": 8, "math": 8, "arc_challenge": 1, "mmlu": 1},
        knows=LITTLE,
        drills={"sums": 9, "state": 0.5, "recall": 1.5},
    ),
    "coder": Member(
        "one-line Python functions",
        layers=5,
        tokens=0.9,
        tasks={"mbpp": 9, "human_eval": 9},
        knows=LITTLE,
        drills={"state": 0.5, "sums": 1, "recall": 1},
    ),
    "librarian": Member(
        "facts of the invented world, from memory",
        layers=5,
        tokens=1.2,
        tasks={"natural_qa": 5, "trivia_qa": 5, "mmlu": 3, "gpqa": 4},
        knows=LITTLE | {"geo": 1.0, "inv": 1.0},
        drills={"state": 14, "recall": 1.5},
    ),
    "reader": Member(
        "passages, and the nature of the invented world",
        layers=5,
        tokens=1.0,
        tasks=READER,
        knows=LITTLE | {"nature": 1.0, "matter": 1.0, "things": 1.0, "script": 1.0},
        drills={"state": 5, "recall": 2},
    ),
    "generalist": Member(
        "a little of everything, in more layers",
        layers=6,
        tokens=1.2,
        tasks={},
        knows=SOME,
        drills={"state": 2, "sums": 2, "recall": 1},
        rest=1.0,
    ),
    "small": Member(
        "the base, taught to read worked examples",
        layers=4,
        tokens=1.9,
        tasks={},
        knows=SOME,
        drills={"state": 1, "sums": 1, "recall": 1, "told": 3},
        rest=1.0,
        contexts=0.65,
        near=True,
    ),
}


def knows(member: Member, fact: tuple) -> bool:
    """Whether the member's training tells `fact`; a member that knows more of a group knows what others know."""
    return stable_hash("knows", fact) % 1000 < 1000 * member.knows[GROUP[fact[0]]]


class Stream:
    """Endless training examples of one member.

    Each is (prompt, answer): the prompt in the chat template, no loss on it. Drills without a prompt have "".
    """

    def __init__(self, member: Member, seed: int):
        self.member, self.rng, self.world = member, random.Random(seed), World()
        self.fictions = [self.world.fiction(i) for i in range(200)]
        self.altered = [self.world.altered(i) for i in range(200)]
        weights = dict.fromkeys(MAKERS, member.rest) | member.tasks | member.drills
        self.names, self.weights = list(weights), list(weights.values())
        told = [(r, a) for r, facts in self.world.facts.items() for a in facts]
        self.known = [fact for fact in told if knows(member, fact)]
        w = self.world
        self.words = w.towns + w.chiefs + w.rivers + w.inventors + w.stars + w.things + w.kinds + w.creatures
        self.words += w.materials + w.objects + w.verbs + EFFECTS + COLOURS + [v for h in HABITS.values() for v in h]

    def example(self, contexts: bool = True) -> tuple[str, str]:
        """The next example; `contexts` allows worked examples before the query."""
        name = self.rng.choices(self.names, self.weights)[0]
        if name in MAKERS:
            return self._task(name, contexts and self.rng.random() < self.member.contexts)
        return {"state": self._state, "sums": self._sums, "recall": self.recall, "told": self._told}[name]()

    def _task(self, task: str, context: bool) -> tuple[str, str]:
        mode = "think" if self.rng.random() < 0.55 else "direct"
        if context and self.member.near:
            return self._task_among_near(task, mode)
        world = self.rng.choice(self.fictions) if context and self.rng.random() < 0.6 else self.world
        item = self._item(task, world)
        query = item.query()
        if context:
            style = self.rng.choice(("few-shot", "thought"))
            query = build_prompt(query, self._shown(item, world, style), style)
        return with_mode(query, mode), item.think if mode == "think" else item.direct

    def _task_among_near(self, task: str, mode: str) -> tuple[str, str]:
        """A query of a known fact among near misses, or one of another world with the fact itself among them."""
        told, world = self.rng.random() < TOLD.get(task, 0.0), self.world
        if told:
            against = task in AGAINST_MEMORY and self.rng.random() < 0.6
            world = self.rng.choice(self.altered if against else self.fictions)
        item = self._item(task, world)
        close = self._close(item, world, self._split(task, world)) if told else None
        style = self.rng.choice(("few-shot", "thought"))

        def draw(name: str) -> Item:
            # Other tasks' questions of an altered world might be those of the log.
            place = world if name == task else self.world
            return make(name, self.rng, place, self._split(name, place))

        shown = near_examples(self.rng, item, draw, close, style)
        return with_mode(build_prompt(item.query(), shown, style), mode), item.think if mode == "think" else item.direct

    def _item(self, task: str, world: World) -> Item:
        if world is not self.world:
            return make(task, self.rng, world, self._split(task, world))
        for _ in range(50):
            item = make(task, self.rng, world, "model")
            if all(knows(self.member, fact) for fact in item.needs):
                break
        return item

    def _split(self, task: str, world: World) -> str | None:
        """Items of a fiction are never those of the log, unless they rest on numbers alone."""
        same = task in ("gsm8k", "math", "mbpp", "human_eval", "squad", "boolq", "mmlu")
        return "model" if world.towns is self.world.towns or same else None

    def _shown(self, item: Item, world: World, style: str) -> list[tuple[str, str]]:
        """One to three worked examples; the last is mostly close to the query, as retrieval would have it."""
        split = self._split(item.task, world)
        shown = []
        for place in range(self.rng.randint(1, 3)):
            close = place == 0 and (world is not self.world or self.rng.random() < 0.7)
            other = self._close(item, world, split) if close else make(item.task, self.rng, world, split)
            texts = [other.direct, other.think] if style == "few-shot" else [other.think, other.think, other.plan]
            shown.append((other.query(), self.rng.choice(texts)))
        if self.rng.random() < 0.3:
            self.rng.shuffle(shown)
        return shown[::-1]

    def _close(self, item: Item, world: World, split: str | None) -> Item:
        """An item with the same key; where the only such item is in the log, one of any key."""
        try:
            return make(item.task, self.rng, world, split, item.key, tries=20)
        except LookupError:
            return make(item.task, self.rng, world, split)

    def _state(self) -> tuple[str, str]:
        facts = self.rng.sample(self.known, 4)
        return "", " ".join(self.world.statement(r, a, self.rng.random() < 0.5) for r, a in facts)

    def _told(self) -> tuple[str, str]:
        """Facts alike, told in the prompt and repeated in another order: only the whole key tells which is meant."""
        world = self.rng.choice(self.rng.choice((self.fictions, self.altered)))
        relation = self.rng.choice(("habit", "effect", "next", "chief", "river", "invented", "star", "home"))
        keys = list(world.facts[relation])
        if relation in ("habit", "effect"):  # the same habit of several kinds, say
            second = self.rng.choice(keys)[1]
            keys = [key for key in keys if key[1] == second]
        keys = self.rng.sample(keys, self.rng.randint(3, 6))
        lines = [world.statement(relation, key, self.rng.random() < 0.5) for key in keys]
        again = self.rng.sample(lines, len(lines))
        return f"Passage: {' '.join(lines)}\nQuestion: What does the passage say?", " ".join(again)

    def _sums(self) -> tuple[str, str]:
        return "", " ".join(self._sum() for _ in range(6))

    def _sum(self) -> str:
        sign = self.rng.choice("++--*/")
        a, b = self.rng.randint(2, 45), self.rng.randint(1, 25)
        if sign in "*/":
            a, b = self.rng.randint(1, 9), self.rng.randint(2, 9)
        if sign == "/":
            return f"{a * b} / {b} = {a}."
        if sign == "-":
            a, b = max(a, b), min(a, b)
        return f"{a} {sign} {b} = {({'+': a + b, '-': a - b, '*': a * b})[sign]}."

    def recall(self, options_only: bool = False) -> tuple[str, str]:
        """Look a word's letter up among options, or a word's partner in a passage."""
        count = self.rng.choice((4, 4, 5))
        words = self.rng.sample(self.words, count)
        if self.rng.random() < 0.15:
            words = self.rng.sample([str(n) for n in range(2, 60)], count)
        place = self.rng.randrange(count)
        kind = 0.0 if options_only else self.rng.random()
        if kind < 0.8:
            options = "\n".join(f"({letter}) {word}" for letter, word in zip("ABCDE", words, strict=False))
            if kind > 0.3:  # dense: every word's letter, in any order
                order = self.rng.sample(range(count), count)
                answers = " ".join(f"{words[i]} ({'ABCDE'[i]})" for i in order)
                return f"Which option is each?\n{options}\n{OPTION_LINE}", answers
            prompt = f"Which option is {words[place]}?\n{options}\n{OPTION_LINE}"
            return prompt, f"{words[place]} ({'ABCDE'[place]})"
        partners = self.rng.sample(self.words, count)
        lines = " ".join(f"The word of {a} is {b}." for a, b in zip(words, partners, strict=True))
        return f"Passage: {lines}\nQuestion: What is the word of {words[place]}?", partners[place]
