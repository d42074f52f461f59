"""The fleet's tokenizer: byte-level BPE, digits apart, the fixed phrases of the prompts one token each."""

import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fusion_hf.tasks import THINK_SUFFIX
from fusion_hf.thoughts.prompt import build_prompt

from .generators import MAKERS, make
from .world import COLOURS, EFFECTS, HABITS, OBJECTS, PEOPLE, PLACES, VERBS, World

VOCABULARY = 2432
CHAT_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ m['content'] + '\\nAnswer:' }}{% endif %}{% endfor %}"
)
"""A user turn always ends in "Answer:", so a prompt is a prefix of the prompt with its answer."""


def _phrases() -> list[str]:
    """What every prompt of a kind repeats, taken from the prompts themselves."""
    world, rng = World(), random.Random(0)
    fixed = {THINK_SUFFIX, "\nAnswer:", "\nGuideline:", "\n\nQuestion:", "Passage:", "\nQuestion:", " The answer is"}
    for task in MAKERS:
        if task not in ("natural_qa", "trivia_qa"):
            fixed.update("\n" + make(task, rng, world, "model").query().rsplit("\n", 1)[-1] for _ in range(3))
    for style in ("few-shot", "thought"):
        header, _, footer = build_prompt("q", [("e", "t")], style).split("\n\n")
        fixed.update({header, "\n\n" + footer.removesuffix("q")})
    fixed.update(f" ({letter})" for letter in "ABCDE")
    fixed.update(f"\n({letter})" for letter in "ABCDE")
    fixed.update({" ####", " \\boxed{", "}", " [BEGIN]\n", "\n[DONE]", "def f(", "    return", "):", '"""', ") =="})
    fixed.update({"\nassert f(", "\nYour code must pass these tests:"})
    return sorted(fixed)


def build_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Train the tokenizer on generated text and write it to `folder`."""
    world, rng = World(), random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" ?[0-9]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    names = [world.towns, world.chiefs, world.rivers, world.inventors, world.stars, world.things, world.kinds]
    names += [world.creatures, world.materials, OBJECTS, PEOPLE, VERBS, PLACES, EFFECTS, COLOURS, *HABITS.values()]
    # Each name often enough to become one token: an option's letter is then one step away from its text.
    corpus = [f" {name}" for group in names for name in group] * 60
    corpus += [" ".join(rng.choices("0123456789", k=20)) for _ in range(50)]
    for task in MAKERS:
        for _ in range(60):
            item = make(task, rng, world, "model")
            corpus += [item.query(), " " + item.think, " " + item.plan]
    corpus += [world.statement(r, a, reverse) for r in world.facts for a in world.facts[r] for reverse in (False, True)]
    phrases = _phrases()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(phrases),
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in phrases])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", padding_side="left", model_max_length=1024
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    return fast
