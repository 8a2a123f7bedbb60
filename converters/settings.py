"""What files state about a model beside its tensors: the LIF, where spikes are, if it is pruned.

A statement is a dictionary that came with a checkpoint: a ``config.json`` beside it, the
hyper-parameters inside it, a file's metadata. All of them are heard. What two of them say
differently, what looks like a setting of the LIF and is none that we know, and a configuration
of another architecture are errors, because the model would compute something else in silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from spikegpt_neuro.converters.lif_keys import Meaning, context_of, meaning_of
from spikegpt_neuro.documents import MEGABYTE, read_bytes
from spikegpt_neuro.errors import UnsupportedInput, UsageError
from spikegpt_neuro.model.spikegpt import LIFOrigin, LIFParameters, ModelShape, SpikeGPT

CONFIG_FILE = "config.json"
CONFIG_LIMIT = 16 * MEGABYTE
DEPTH_MAX = 8
BY_OPTION = "stated: option"
BY_FORMAT = "stated: format"
FLAGS = ("spike_embedding", "spike_input", "pruned")
SIZES = {
    "layers": ("n_layer", "n_layers", "num_layers", "num_hidden_layers"),
    "width": ("n_embd", "n_embed", "d_model"),
    "vocab_size": ("vocab_size", "n_vocab"),
}
LIF_KINDS = {"lif", "lifnode", "multisteplifnode", "leakyintegrateandfire", "simplelif"}
RESETS_TO_ZERO = {"zero", "tozero", "hard", "hardreset"}
OURS = ("rwkv", "spikegpt", "spike")
EPSILON_KEYS = (
    "layer_norm_epsilon",
    "layer_norm_eps",
    "layernorm_epsilon",
    "norm_eps",
    "ln_eps",
)
EPSILON = 1e-5


@dataclass(frozen=True)
class Statement:
    """A dictionary of settings, and where it stands: in words for errors, and briefly."""

    where: str
    settings: Mapping[Any, Any]
    brief: str

    @cached_property
    def of_model(self) -> Mapping[str, Any]:
        """What it says at its top and in the parts that speak of the model, by key."""
        found: dict[str, Any] = {}
        for parents, key, value in _entries(self.settings):
            plain = key in FLAGS or not isinstance(value, Mapping)  # a flag is no part
            if context_of(parents) == "model" and plain:
                found.setdefault(key, value)
        return found


@dataclass(frozen=True)
class Options:
    """What the tensors of a checkpoint do not show.

    ``origin``  where each setting of the LIF was stated.
    """

    spike_embedding: bool = True
    spike_input: bool = False
    pruned: bool = False
    lif: LIFParameters = field(default_factory=LIFParameters)
    origin: LIFOrigin = field(default_factory=LIFOrigin)


@dataclass(frozen=True)
class GivenLIF:
    """What a user says of the LIF of a file that does not say it; None: nothing."""

    tau: float | None = None
    threshold: float | None = None
    reset: float | None = None


@dataclass(frozen=True)
class _Stated:
    """One setting: a field of the options, its value, the key that states it, and where."""

    name: str
    value: float | bool
    key: str
    statement: Statement


def statements_beside(path: Path) -> Iterator[Statement]:
    """The configurations that lie beside a checkpoint, or in its directory.

    ``config.json``, and those named after a file: ``model-config.json``, ``model.config.json``.
    """
    folder = path if path.is_dir() else path.parent
    stem = path.name if path.is_dir() else path.stem
    for name in (
        CONFIG_FILE,
        f"{stem}-config.json",
        f"{stem}_config.json",
        f"{stem}.config.json",
    ):
        if (file := folder / name).exists():
            yield Statement(str(file), read_config(file), name)


def read_config(path: Path) -> Mapping[str, Any]:
    """A JSON object whose keys are all different."""
    try:
        config = json.loads(
            read_bytes(path, CONFIG_LIMIT),
            object_pairs_hook=lambda pairs: _once(pairs, path),
        )
    except (ValueError, RecursionError) as error:
        raise UnsupportedInput(f"{path}: not JSON: {str(error) or 'nested too deeply'}") from error
    if not isinstance(config, dict):
        raise UnsupportedInput(f"{path}: expected a JSON object, found {type(config).__name__}")
    return config


def _once(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise UnsupportedInput(f"{path}: {key!r:.60} is stated twice, with different values")
        found[key] = value
    return found


def settle(options: Options, statements: Sequence[Statement]) -> Options:
    """The options of a format with what ``statements`` say in their place.

    Raises :class:`UnsupportedInput` naming the key and the file: values of the wrong type or out
    of range, contradictions, keys that look like a LIF's and are unknown, models that are no
    SpikeGPT (``attention`` other than ``"rwkv"``, ``spiking`` false).
    """
    found: dict[str, _Stated] = {}
    for statement in statements:
        _check_architecture(statement)
        for stated in _stated_in(statement):
            other = found.setdefault(stated.name, stated)
            if other.value != stated.value:
                raise UnsupportedInput(
                    f"{other.statement.where}: {other.key} is {other.value:g}, but {stated.key} is "
                    f"{stated.value:g} in {stated.statement.where}; correct one of them"
                )
    lif = replace(options.lif, **_values(found, LIFParameters))
    origin = replace(
        options.origin,
        **{n: f"stated: {s.statement.brief}" for n, s in found.items() if n not in FLAGS},
    )
    _check_range(lif, found)
    flags = {name: bool(found[name].value) for name in FLAGS if name in found}
    return replace(options, lif=lif, origin=origin, **flags)


def _values(found: Mapping[str, _Stated], type_: type) -> dict[str, Any]:
    return {f.name: found[f.name].value for f in fields(type_) if f.name in found}


def _check_range(lif: LIFParameters, found: Mapping[str, _Stated]) -> None:
    if lif.tau < 1 and (tau := found.get("tau")):
        raise UnsupportedInput(
            f"{tau.statement.where}: {tau.key} is {lif.tau}, expected at least 1 token"
        )
    blamed = found.get("threshold") or found.get("reset")
    if lif.threshold <= lif.reset and blamed:
        raise UnsupportedInput(
            f"{blamed.statement.where}: lif_threshold {lif.threshold} does not exceed "
            f"lif_reset {lif.reset}"
        )


def _stated_in(statement: Statement) -> Iterator[_Stated]:
    for flag in FLAGS:
        if flag in statement.of_model:
            yield _Stated(flag, _flag(statement.of_model[flag], flag, statement), flag, statement)
    for parents, key, value in _entries(statement.settings):
        name = ".".join((*parents, key))
        yield from _meant(meaning_of(parents, key, value), value, name, statement)


def _entries(
    settings: Mapping[Any, Any], parents: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Keys with those that lead to them; ``{"lif.tau": 2}`` is ``{"lif": {"tau": 2}}``."""
    for name, value in settings.items():
        if not isinstance(name, str):
            continue
        *above, key = name.split(".")
        yield (*parents, *above), key, value
        if isinstance(value, Mapping) and len(parents) < DEPTH_MAX:
            yield from _entries(value, (*parents, *above, key))


def _meant(meaning: Meaning, value: Any, key: str, statement: Statement) -> Iterator[_Stated]:
    """What one key states of the LIF: nothing, a field, or why it cannot be."""
    where = f"{statement.where}: {key}"
    if meaning in ("tau", "threshold"):
        yield _Stated(meaning, _number(_same(value), key, statement), key, statement)
    elif meaning in ("reset", "v_reset") and not isinstance(value, str):
        yield _Stated("reset", _reset(meaning, _same(value), key, statement), key, statement)
    elif meaning in ("reset", "v_reset", "reset_mode"):
        if _plain(value) not in RESETS_TO_ZERO:
            raise UnsupportedInput(
                f"{where} is {value!r:.40}; only a reset to 0 ('zero', 'hard') is supported"
            )
    elif meaning == "soft_reset" and _flag(value, key, statement):
        raise UnsupportedInput(f"{where} is true; only a hard reset to 0 is supported")
    elif meaning == "decay_input":
        yield _Stated("decay_input", _flag(value, key, statement), key, statement)
    elif meaning == "kind" and _plain(value) not in LIF_KINDS:
        raise UnsupportedInput(f"{where} is {value!r:.40}; only the LIF is supported")
    elif meaning == "beta":
        raise UnsupportedInput(f"{where}{_of_beta(value)}")
    elif meaning == "unknown":
        raise UnsupportedInput(
            f"{where} looks like a setting of the LIF and is none that is known; state lif_tau, "
            "lif_threshold, lif_reset and decay_input, or take it out if it means something else"
        )


def _of_beta(value: Any) -> str:
    """Why a decay per token is not taken, and what would stand for it."""
    fits = isinstance(value, float) and 0 <= value < 1
    tau = f"lif_tau {1 / (1 - value):.6g}" if fits else "lif_tau = 1 / (1 - beta)"
    return (
        f" is {value!r:.40}, a decay per token as snnTorch has it; state {tau} and decay_input "
        "false instead, if that neuron resets to zero"
    )


def _reset(meaning: Meaning, value: Any, key: str, statement: Statement) -> float:
    where = f"{statement.where}: {key}"
    if value is None:
        raise UnsupportedInput(
            f"{where} is null, a soft reset that subtracts the threshold; only a hard reset to 0 "
            "is supported"
        )
    reset = _number(value, key, statement)
    if reset != 0 and meaning == "v_reset":
        raise UnsupportedInput(
            f"{where} is {reset:g}: SpikingJelly's membrane also leaks to it, which is not "
            "supported; only 0 is"
        )
    return reset


def _same(value: Any) -> Any:
    """The one value of a list whose elements are all equal, as settings per layer may be."""
    if isinstance(value, (list, tuple)) and value and all(each == value[0] for each in value):
        return value[0]
    return value


def _plain(value: Any) -> str:
    return "".join(c for c in str(value).lower().rpartition(".")[2] if c.isalnum())


def _check_architecture(statement: Statement) -> None:
    """Refuse the configuration of another model."""
    settings, where = statement.of_model, statement.where
    if (attention := settings.get("attention", "rwkv")) != "rwkv":
        raise UnsupportedInput(
            f"{where}: attention is {attention!r:.40}; only the recurrent 'rwkv' is supported"
        )
    if "spiking" in settings and not _flag(settings["spiking"], "spiking", statement):
        raise UnsupportedInput(
            f"{where}: spiking is false; a model without LIF neurons is not supported"
        )
    for key in ("model_type", "architectures"):
        names = settings.get(key)
        texts = [names] if isinstance(names, str) else names if isinstance(names, list) else []
        if texts and not any(our in _plain(text) for our in OURS for text in texts):
            raise UnsupportedInput(
                f"{where}: {key} is {names!r:.60}, the configuration of another architecture; "
                "move it away from the checkpoint, or correct it"
            )
    for key in EPSILON_KEYS:
        if key in settings and settings[key] != EPSILON:
            raise UnsupportedInput(
                f"{where}: {key} is {settings[key]!r:.40}; only SpikeGPT's {EPSILON:g} is supported"
            )


def check_sizes(statement: Statement, shape: ModelShape) -> None:
    """Compare a statement with what the tensors show."""
    settings, where = statement.of_model, statement.where
    sizes = dict(SIZES)
    if "num_hidden_layers" in settings:  # a name that elsewhere may mean the channel mix's
        sizes["width"] = (*sizes["width"], "hidden_size")
    for size, keys in sizes.items():
        found = getattr(shape, size)
        for key in keys:
            value = settings.get(key)
            if isinstance(value, (int, float, str)) and value != found:
                raise UnsupportedInput(
                    f"{where}: {key} is {value!r:.40} in the config, the tensors have {found}"
                )
    model_type = settings.get("model_type")
    plain = _plain(model_type) if isinstance(model_type, str) else ""
    if plain in ("rwkv", "rwkvffnpre") and shape.ffn_pre != (plain == "rwkvffnpre"):
        raise UnsupportedInput(
            f"{where}: model_type is {model_type!r} in the config, but the tensors "
            f"{'have' if shape.ffn_pre else 'have no'} blocks.0.ffnPre"
        )


def with_given(model: SpikeGPT, given: GivenLIF) -> SpikeGPT:
    """The model with the LIF that a user gave, where its files do not state another.

    Raises :class:`UsageError` for values out of range and :class:`UnsupportedInput` where a file
    states another.
    """
    if given == GivenLIF():
        return model
    lif, origin = model.shape.lif, model.lif_origin
    for name in ("tau", "threshold", "reset"):
        value, stated = getattr(given, name), getattr(origin, name)
        if value is None:
            continue
        if not math.isfinite(value):
            raise UsageError(f"lif_{name}=...: {value} is no finite number")
        if stated not in (None, BY_OPTION) and value != getattr(lif, name):
            raise UnsupportedInput(
                f"{model.provenance.file}: {name} is {getattr(lif, name):g} ({stated}), but "
                f"lif_{name}=... gives {value:g}; leave the option out, or correct the file"
            )
        lif, origin = (
            replace(lif, **{name: value}),
            replace(origin, **{name: stated or BY_OPTION}),
        )
    if lif.tau < 1:
        raise UsageError(f"lif_tau=...: {lif.tau:g} is less than 1 token")
    if lif.threshold <= lif.reset:
        raise UsageError(
            f"lif_threshold=...: {lif.threshold:g} does not exceed the reset to {lif.reset:g}"
        )
    return replace(model, shape=replace(model.shape, lif=lif), lif_origin=origin)


def _flag(value: Any, key: str, statement: Statement) -> bool:
    if not isinstance(value, bool):
        raise UnsupportedInput(f"{statement.where}: {key} is {value!r:.40}, expected true or false")
    return value


def _number(value: Any, key: str, statement: Statement) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    shown = f"a list of {len(value)}, which differ" if isinstance(value, (list, tuple)) else None
    raise UnsupportedInput(
        f"{statement.where}: {key} is {shown or repr(value)[:40]}, expected a finite number"
        + (" for all layers" if shown else "")
    )
