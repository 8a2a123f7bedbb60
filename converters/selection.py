"""Finding the one SpikeGPT among the names in a checkpoint.

Training loops wrap the model: in dictionaries beside optimizer and epoch, under prefixes
(``model.``, ``module.``), inside modules whose names show in the middle of a tensor's. All of it
is one thing here: what stands before ``blocks.0``. Names are paths whose steps are divided by
``.`` in a module and by ``/`` between dictionaries.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from spikegpt_neuro.errors import UnsupportedInput
from spikegpt_neuro.model.spikegpt import DEAD_ZONE, HEAD_INPUT, ModelShape

BLOCKS = "blocks"
BEFORE_BLOCKS = re.compile(r"(?:.*?[./])??(?=blocks[./](?:[^./]*mod(?:ule)?[./])*\d)")
OUTER = ("emb", "ln_out", "head")
HEAD = "head.weight"
EMBEDDING = "emb.weight"
OUTER_TENSORS = (EMBEDDING, "ln_out.weight", "ln_out.bias", HEAD, HEAD_INPUT + DEAD_ZONE)
SPELLINGS = {"embedding": "emb", "ffn_pre": "ffnPre"}
NAMES_SHOWN = 3
GROUPS_SHOWN = 8
LAYER_DIGITS = 9
WRAPPER = re.compile(r"module|_\w*mod(?:ule)?")
"""Steps that wrappers add: DataParallel, FSDP, activation checkpoints, Lightning, torch.compile."""
OF_TRAINING = re.compile(r"optim|exp_avg|moment|grad|master|adam|lion", re.IGNORECASE)
"""Steps under which a training loop keeps something else, shaped like the model."""
EXTRA_HEAD = re.compile(
    r"(\w+_)?(heads?|classifier|classification|cls|scorer?|pool(er|ing)|critic|reward|probe"
    r"|predictor|regressor|criterion|loss|metrics?|fc|decoder|task)(_\w+|\d+)?",
    re.IGNORECASE,
)
"""First steps of modules that take the model's outputs, so that the model is whole without."""
EXTRA_STATE = re.compile(r"(^|\.)(_extra_state|num_batches_tracked)$")

REASONS = tuple(
    (re.compile(pattern), why)
    for pattern, why in (
        (
            rf"{re.escape(DEAD_ZONE)}$",
            "a dead zone of no population that may have one in this model (those that feed a "
            "matrix: blocks.0.att.mix_k, ..., blocks.0.ffn.squared_relu, ..., head.input)",
        ),
        (
            r"(^|[._])(d?lora|loha|lokr|ia3|adapters?)([._]|$)",
            "a LoRA (or another adapter) that is not merged into the weights; merge it first "
            "(peft: model.merge_and_unload()) and save the result",
        ),
        (
            r"^(head_q|head_k|copy_mask)\b",
            "the QK head (RWKV_HEAD_QK_DIM > 0) is not supported; train without it",
        ),
        (r"^pos_emb", "a position embedding is not supported; train without it"),
        (
            r"(^|\.)(q(weight|zeros)|g_idx|scales|zeros|SCB|absmax|quant_\w+|weight_(scale|format"
            r"|zero_point)\w*|scale|zero_point|_packed_params\w*|nested_absmax)(\.|$)",
            "weights that another tool has quantized; give the float checkpoint, convert "
            "quantizes by itself",
        ),
        (
            r"\.weight_(orig|mask|g|v|u)$|(^|\.)parametrizations\.",
            "a weight stored in parts (pruning, weight or spectral normalization); make it plain "
            "first (torch.nn.utils: prune.remove, remove_weight_norm, "
            "parametrize.remove_parametrizations) and save again",
        ),
        (
            r"(^|\.)_?flat_param",
            "FSDP's flattened shard of the parameters; save with StateDictType.FULL_STATE_DICT",
        ),
        (
            r"(^|\.)(p?lif(_?\w+)?|neurons?|sn|spikes?|(if_?)?node)_?\d*\.|^blocks\..*\.(w|beta"
            r"|alpha)$|(^|\.)((log_|lif_)?tau\w*|log_beta|v_?th\w*|threshold|v_reset|reset\w*"
            r"|graded_spikes_factor|membrane\w*|leak\w*)$",
            "a parameter of LIF neurons, stored or learned; only one LIF for the whole model is "
            "supported: train with fixed neurons, or where all have the same tau, threshold and "
            "reset, remove these tensors and state the values (lif_tau=..., lif_threshold=..., "
            "lif_reset=...)",
        ),
        (
            r"\.att\.(time_(faaaa|maa\w*|mix_g|state)|gate|ln_x|x_[rwkvag]|[wavg][0-2]|k_[ka]|r_k)"
            r"(\.|$)",
            "a tensor of RWKV-5 or later; SpikeGPT is made of RWKV-4's blocks",
        ),
        (
            r"^blocks\.\d+\.(\w*attn\w*|attention|mlp|self_attention)\.",
            "blocks of another architecture (a transformer's); only SpikeGPT's are supported",
        ),
        (
            r"^(head|blocks\.\d+\.\w+\.(key|value|receptance|output))\.bias$",
            "a bias; SpikeGPT's linear layers have none",
        ),
    )
)
"""What unexpected tensors are, by a pattern in their canonical name, and what to do."""

SHARE_THE_HEAD = (
    "; where the head shares the embedding's weights, save them under both names: "
    "state['head.weight'] = state['emb.weight']"
)
OF_A_CLASSIFIER = (
    "; {} is another head (a fine-tuned classifier's?); convert the language model, which has both"
)


@dataclass(frozen=True)
class Selection:
    """Canonical name -> stored name of the model's tensors, and what a reader should know."""

    names: Mapping[str, str]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """What may be a model: tensors with one thing before ``blocks``, by what follows it.

    ``prefix``  the steps before ``blocks``, ``head`` the same as it is stored.
    ``twice``   canonical names that two stored ones have.
    """

    prefix: tuple[str, ...]
    head: str
    names: dict[str, str] = field(default_factory=dict)
    twice: list[tuple[str, str]] = field(default_factory=list)

    def add(self, canonical: str, stored: str) -> None:
        if self.names.setdefault(canonical, stored) != stored:
            self.twice.append((canonical, stored))

    @property
    def place(self) -> str:
        """Where it stands: ``state_dict/model``; empty where nothing stands before it."""
        return self.head.rstrip("./")

    @property
    def container(self) -> str:
        """The dictionary in which it stands, with the stroke that ends it."""
        return "".join(self.head.rpartition("/")[:2])

    @property
    def layers(self) -> set[int]:
        return {int(n.split(".")[1]) for n in self.weights if n.startswith(f"{BLOCKS}.")}

    @property
    def weights(self) -> Iterator[str]:
        """Its names without those of dead zones, which say nothing of its shape."""
        return (name for name in self.names if not name.endswith(DEAD_ZONE))

    @cached_property
    def expected(self) -> tuple[str, ...]:
        """The names that a SpikeGPT of as many layers has; asked once all are added."""
        return tuple(self._shape.tensor_shapes())

    @cached_property
    def known(self) -> tuple[str, ...]:
        """Those, and the names of what it may have."""
        return (*self.expected, *(f"{name}{DEAD_ZONE}" for name in self._shape.dead_zone_sizes()))

    @property
    def _shape(self) -> ModelShape:
        """A narrow model with as many layers."""
        ffn_pre = any(name.startswith(f"{BLOCKS}.0.ffnPre.") for name in self.weights)
        return ModelShape(len(self.layers), 1, 1, ffn_pre=ffn_pre)

    @property
    def missing(self) -> list[str]:
        return [name for name in self.expected if name not in self.names]

    def holds(self, steps: Sequence[str]) -> bool:
        """Whether a name begins with what stands before the model."""
        return tuple(steps[: len(self.prefix)]) == self.prefix


def steps_of(name: str) -> tuple[str, ...]:
    """The steps of a name without those of wrappers, spelled as upstream does."""
    steps = re.split(r"[./]", name)
    return tuple(SPELLINGS.get(s, s) for s in steps if not WRAPPER.fullmatch(s))


def canonical_name(name: str) -> str:
    """Upstream's name of a tensor that was wrapped (DataParallel, torch.compile) or renamed.

    >>> canonical_name("module.blocks.0._orig_mod.ffn_pre.key.weight")
    'blocks.0.ffnPre.key.weight'
    >>> canonical_name("embedding.weight")
    'emb.weight'
    """
    return ".".join(steps_of(name)) or name


def select(
    tensors: Collection[str],
    others: Mapping[str, str],
    path: object,
    same: Callable[[str, str], bool],
    *,
    tied: bool = False,
) -> Selection:
    """The names of the one SpikeGPT among ``tensors``; raises :class:`UnsupportedInput`.

    ``others``  entries that are no tensors, and what they are.
    ``same``    whether two names stand for the very same stored values.
    ``tied``    the head has the embedding's weights where it is not stored.
    """
    candidates, loose = _candidates(tensors)
    for candidate in candidates if tied else ():
        if EMBEDDING in candidate.names:
            candidate.names.setdefault(HEAD, candidate.names[EMBEDDING])
    if not candidates:
        _check_reasons({canonical_name(name): name for name in tensors}, path)
        raise UnsupportedInput(
            f"{path}: holds no blocks.* tensors, so it is no SpikeGPT checkpoint "
            f"({len(tensors)} tensors: {some([*tensors, *others]) or 'none'})"
        )
    model = _chosen(candidates, path, same)
    _check_twice(model, path, same)
    _check_others(model, others, path)
    _check_whole(model, loose, path)
    rest = [stored for c in candidates if c is not model for stored in c.names.values()]
    extra = [stored for name, stored in model.names.items() if name not in model.known]
    used = set(model.names.values())
    left = [name for name in (*extra, *rest, *loose, *others) if name in extra or name not in used]
    names = {name: model.names[name] for name in model.known if name in model.names}
    return Selection(names, _remarks(model, left, path))


def _candidates(tensors: Iterable[str]) -> tuple[list[_Candidate], list[str]]:
    """What may be a model, and the names that belong to none."""
    found: dict[tuple[str, ...], _Candidate] = {}
    outside: list[str] = []
    for name in sorted(tensors, key=_is_dead_zone):
        steps = steps_of(name)
        at = _block_at(steps)
        if at is None or (_is_dead_zone(name) and steps[:at] not in found):
            outside.append(name)
            continue
        head = BEFORE_BLOCKS.match(name)
        candidate = _Candidate(steps[:at], head[0] if head else "")
        layer = str(int(steps[at + 1]))
        found.setdefault(steps[:at], candidate).add(
            ".".join((BLOCKS, layer, *steps[at + 2 :])), name
        )
    loose = [name for name in outside if not _taken_by_its_own(name, found)]
    return list(found.values()), [name for name in loose if not _taken_by_those_below(name, found)]


def _is_dead_zone(name: str) -> bool:
    """Whether it names thresholds, which alone make no model."""
    return f".{canonical_name(name)}".endswith(DEAD_ZONE)


def _block_at(steps: Sequence[str]) -> int | None:
    """Where ``blocks`` and a layer's number stand."""
    for at, (step, number) in enumerate(itertools.pairwise(steps)):
        is_number = len(number) <= LAYER_DIGITS and number.isascii() and number.isdecimal()
        if step == BLOCKS and is_number:
            return at
    return None


def _outer(name: str) -> tuple[tuple[str, ...], str] | None:
    """Of an embedding, head or last norm: what stands before it, and its canonical name."""
    steps = steps_of(name)
    if _block_at(steps) is not None:
        return None
    at = next((i for i, step in enumerate(steps[:-1]) if step in OUTER), None)
    return None if at is None else (steps[:at], ".".join(steps[at:]))


Found = Mapping[tuple[str, ...], _Candidate]


def _taken_by_its_own(name: str, found: Found) -> bool:
    """Add a name outside blocks to the model with the very same prefix."""
    outer = _outer(name)
    if outer is None or outer[0] not in found:
        return False
    found[outer[0]].add(outer[1], name)
    return True


def _taken_by_those_below(name: str, found: Found) -> bool:
    """Add it to models that lack it, inside the module that it is put upon.

    (``rwkv.blocks.0``, but ``head.weight``.)
    """
    outer = _outer(name)
    if outer is None or outer[1] not in OUTER_TENSORS:
        return False
    prefix, canonical = outer
    below = [c for p, c in found.items() if p[: len(prefix)] == prefix and canonical not in c.names]
    for candidate in below:
        candidate.add(canonical, name)
    return bool(below)


def _chosen(
    candidates: Sequence[_Candidate], path: object, same: Callable[[str, str], bool]
) -> _Candidate:
    """The one model; that which is nearest to one where none is whole."""
    whole = [c for c in candidates if not set(c.missing) - {HEAD}]
    models = [c for c in whole if not any(map(OF_TRAINING.search, c.prefix))] or whole
    if not models:
        return max(candidates, key=lambda c: len(c.expected) - len(c.missing))
    first, *more = models
    different = [c for c in more if not _alike(first, c, same)]
    if different:
        listed = ", ".join(
            f"{c.place or 'the top'!r} ({len(c.names)} tensors)" for c in (first, *different)
        )
        raise UnsupportedInput(
            f"{path}: holds {1 + len(different)} models: {listed}; save the one that is meant "
            "alone, in a file of its own"
        )
    return first


def _alike(one: _Candidate, other: _Candidate, same: Callable[[str, str], bool]) -> bool:
    return one.names.keys() == other.names.keys() and all(
        same(stored, other.names[name]) for name, stored in one.names.items()
    )


def _check_twice(model: _Candidate, path: object, same: Callable[[str, str], bool]) -> None:
    for canonical, stored in model.twice:
        if not same(model.names[canonical], stored):
            raise UnsupportedInput(
                f"{path}: tensor {canonical} is stored twice, as {model.names[canonical]} and as "
                f"{stored}"
            )


def _check_others(model: _Candidate, others: Mapping[str, str], path: object) -> None:
    """What stands in a tensor's place must be one."""
    for name, kind in others.items():
        steps, outer = steps_of(name), _outer(name)
        at = _block_at(steps) if outer is None else len(outer[0])
        inside = at == len(model.prefix) and model.holds(steps)
        if inside and not EXTRA_STATE.search(name):
            raise UnsupportedInput(f"{path}: {name} is a {kind}, expected a tensor")


def _check_whole(model: _Candidate, loose: Iterable[str], path: object) -> None:
    """Nothing of the model is missing, and nothing would have to take part in it."""
    inside = {n: stored for n, stored in model.names.items() if n not in model.known}
    beside = {_within(model, name): name for name in loose if _is_beside(model, name)}
    _check_reasons({**inside, **beside}, path)
    gaps = set(range(len(model.layers))) - model.layers
    if gaps:
        raise UnsupportedInput(
            f"{path}: tensors of blocks.{min(gaps)} are missing, but blocks.{max(model.layers)} "
            "exists"
        )
    unexpected = [stored for name, stored in inside.items() if not EXTRA_STATE.search(name)]
    unexpected += [stored for name, stored in beside.items() if not _is_extra_head(name)]
    parts = [f"missing tensors: {some(model.missing)}"] if model.missing else []
    parts += [f"unexpected tensors: {some(unexpected)}"] if unexpected else []
    if parts:
        head = next((stored for name, stored in beside.items() if _is_extra_head(name)), None)
        advice = OF_A_CLASSIFIER.format(head) if head else SHARE_THE_HEAD
        advice = advice if model.missing == [HEAD] else ""
        raise UnsupportedInput(f"{path}: {'; '.join(parts)}{advice}")


def _check_reasons(unexpected: Mapping[str, str], path: object) -> None:
    """Raise for what is known and not supported: canonical -> stored name."""
    for canonical, stored in unexpected.items():
        for pattern, why in REASONS:
            if pattern.search(canonical):
                raise UnsupportedInput(f"{path}: {stored}: {why}")


def _is_beside(model: _Candidate, name: str) -> bool:
    """Whether a tensor stands in the model's own dictionary, with the same before it."""
    alone = name.removeprefix(model.container)
    return name.startswith(model.container) and "/" not in alone and model.holds(steps_of(name))


def _within(model: _Candidate, name: str) -> str:
    return ".".join(steps_of(name)[len(model.prefix) :])


def _is_extra_head(name: str) -> bool:
    return bool(EXTRA_HEAD.fullmatch(name.split(".")[0]) or EXTRA_STATE.search(name))


def _remarks(model: _Candidate, left: Sequence[str], path: object) -> tuple[str, ...]:
    """What was left out, each group of names by the step that parts it from the model."""
    if not left:
        return ()
    groups = list(dict.fromkeys(_group(name, model.head) for name in left))
    where = f" in {model.place!r}" if model.place else ""
    return (f"{path}: the model{where} is read; left out beside it: {some(groups, GROUPS_SHOWN)}",)


def _group(name: str, head: str) -> str:
    """``name`` up to the step after what it has in common with ``head``."""
    steps, others = (re.findall(r"[^./]*[./]|[^./]+$", text) for text in (name, head))
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(steps, others, strict=False))
    return "".join(steps[: len(list(same)) + 1]).rstrip("./")


def some(names: Iterable[str], shown: int = NAMES_SHOWN) -> str:
    """The first few of ``names``, and how many more there are."""
    listed = list(names)
    more = len(listed) - shown
    return ", ".join(listed[:shown]) + (f" and {more} more" if more > 0 else "")
