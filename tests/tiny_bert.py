"""A random BERT of a few thousand weights with a word-level tokenizer, built on the spot."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed


def tiny_bert(folder, positions=64):
    """Save a tiny BERT with its tokenizer to `folder` and return the folder as a string."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789+*?.:()=_"
    words = ["what", "is", "the", "of", "in", "which", "city", "capital", "country", "number", "def", "return"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *letters]
    vocab = {w: i for i, w in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=positions,
    )  # fmt: skip
    set_seed(0)
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=positions,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return str(folder)
