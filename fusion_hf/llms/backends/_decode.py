"""The decoding loop of a batch. An answer that has ended leaves the batch, so short ones do not wait for long ones."""

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

LEAVE_SHARE = 0.125  # of the batch that must have ended before the rest is moved together
BATCHED = ("attention_mask", "position_ids", "token_type_ids")


class RoomyLayer(DynamicLayer):
    """Keys and values of one layer, written into room that is there from the start.

    `DynamicLayer` copies the whole cache for every token; for small models that is most of the time.
    """

    def __init__(self, length: int):
        super().__init__()
        self.length = length  # tokens that a row can have at most
        self._room: list[torch.Tensor] = []

    def update(self, key_states, value_states, *args, **kwargs):
        """Append the states [rows, heads, new tokens, size]; returns all keys and values so far."""
        states = (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._room = [s.new_empty((*s.shape[:2], self.length, s.shape[3])) for s in states]
        begin = self.get_seq_length()
        end = begin + key_states.shape[2]
        for room, new in zip(self._room, states, strict=True):
            room[:, :, begin:end] = new
        self.keys, self.values = (room[:, :, :end] for room in self._room)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only these rows, in ascending order; they move to the front of the room."""
        end = self.get_seq_length()
        for i, room in enumerate(self._room):
            room[: len(indices), :, :end] = room[indices, :, :end]
            self._room[i] = room[: len(indices)]
        self.keys, self.values = (room[:, :, :end] for room in self._room)


def decode(
    model, input_ids, logits_processor, stopping_criteria, generation_config, logprobs=None, **kwargs
) -> torch.Tensor:
    """Greedy or sampled decoding, for ``model.generate(..., custom_generate=decode)``.

    The arguments are those that `generate` prepares. The same tokens as its own loop gives, but rows that met a
    stopping criterion are taken out of the batch and of the key-value cache.

    Args:
        input_ids: int64 [rows, width], left padded.
        logprobs: A list for each row, which gets the log-probability of each of its tokens (and of some after its
            end) as the model gives it, before anything is done to the logits; None measures none.

    Returns:
        int64 [rows, longest answer], without the prompts; after its end a row is filled with the padding token.
    """
    for key in ("synced_gpus", "streamer", "assistant_model"):
        kwargs.pop(key, None)
    width = input_ids.shape[1]
    cache = kwargs.get("past_key_values")
    if isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers):
        cache.layers = [RoomyLayer(generation_config.max_length) for _ in cache.layers]
    answers: dict[int, torch.Tensor] = {}
    place = list(range(len(input_ids)))  # row of the batch -> row that was given
    ended = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
    first = True
    while True:
        inputs = model.prepare_inputs_for_generation(
            input_ids, next_sequence_length=None if first else 1, is_first_iteration=first, **kwargs
        )
        outputs = model(**inputs, return_dict=True)
        first = False
        kwargs = model._update_model_kwargs_for_generation(outputs, kwargs)
        scores = logits_processor(input_ids, outputs.logits[:, -1].float())
        if generation_config.do_sample:
            token = torch.multinomial(scores.softmax(-1), 1)
        else:
            token = scores.argmax(-1, keepdim=True)
        if logprobs is not None:
            said = outputs.logits[:, -1].float().log_softmax(-1).gather(1, token).flatten().tolist()
            for row, value in zip(place, said, strict=True):
                logprobs[row].append(value)
        input_ids = torch.cat([input_ids, token], 1)
        met = stopping_criteria(input_ids, None) & ~ended
        if met.any():
            for i in met.nonzero().flatten().tolist():
                answers[place[i]] = input_ids[i, width:].clone()
            ended |= met
            if ended.all():
                break
            cache = kwargs.get("past_key_values")
            if ended.float().mean() >= LEAVE_SHARE and _can_leave(cache):
                stay = (~ended).nonzero().flatten()
                cache.batch_select_indices(stay)
                kwargs |= {key: kwargs[key][stay] for key in BATCHED if kwargs.get(key) is not None}
                input_ids, place, ended = input_ids[stay], [place[i] for i in stay.tolist()], ended[stay]
    longest = max(map(len, answers.values()))
    result = input_ids.new_full((len(answers), longest), generation_config._pad_token_tensor)
    for i, answer in answers.items():
        result[i, : len(answer)] = answer
    return result


def _can_leave(cache) -> bool:
    """Whether rows can be taken out of this cache; where not, ended rows stay and are cut off afterwards."""
    return isinstance(cache, DynamicCache) and all(hasattr(layer, "batch_select_indices") for layer in cache.layers)
