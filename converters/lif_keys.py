"""The names under which files state a LIF, and which names look like one.

Training scripts write what they like beside the weights. A key is told by its words
(``lifTau``, ``lif.tau`` and ``lif-tau`` are ``lif_tau``) and by what it stands in: ``tau`` means
the LIF at the top of a configuration and within ``lif`` or ``model``, but not within ``optimizer``.
What looks like a setting of a neuron and is none that we know is not passed over: the model
would compute something else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

Meaning = Literal[
    "tau",
    "threshold",
    "reset",
    "v_reset",
    "reset_mode",
    "soft_reset",
    "decay_input",
    "kind",
    "beta",
    "nothing",
    "unknown",
]
"""``v_reset``: SpikingJelly's, to which its membrane also leaks; ``beta``: snnTorch's decay."""
Context = Literal["lif", "model", "other"]

WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

NAMES: Mapping[Meaning, str] = {
    "tau": "lif_tau tau_lif tau_m tau_mem lif_tau_m lif_tau_mem membrane_tau tau_membrane "
    "spike_tau snn_tau neuron_tau",
    "threshold": "lif_threshold lif_thresh lif_v_threshold lif_vth lif_v_th v_threshold v_thresh "
    "v_th vth vthreshold spike_threshold spiking_threshold firing_threshold fire_threshold "
    "membrane_threshold neuron_threshold snn_threshold",
    "reset": "lif_reset reset_value membrane_reset",
    "v_reset": "v_reset lif_v_reset vreset v_rest vrest lif_v_rest reset_voltage reset_potential "
    "rest_potential",
    "reset_mode": "reset_mechanism reset_mode reset_type lif_reset_mechanism lif_reset_mode "
    "lif_reset_type",
    "soft_reset": "soft_reset lif_soft_reset",
    "decay_input": "decay_input lif_decay_input",
    "kind": "lif_type neuron neuron_type neuron_model spiking_neuron spike_node node_type lif_node "
    "lif_class",
    "beta": "lif_beta",
    "nothing": "detach_reset lif_detach_reset lif_backend",
}
CLEAR = {name: meaning for meaning, names in NAMES.items() for name in names.split()}
"""Names that mean one thing wherever they stand."""

SHORT: Mapping[str, Meaning] = {
    "tau": "tau",
    "threshold": "threshold",
    "thresh": "threshold",
    "reset": "reset",
    "beta": "beta",
}
"""Names that mean the LIF only at the top, in the model's part and in the LIF's own."""

OF_TRAINING = {"surrogate", "surrogate_function", "surrogate_fn", "spike_grad", "step_mode"}
OF_TRAINING |= {"backend", "store_v_seq", "alpha", "slope", "grad", "detach", "enabled", "name"}
"""What a LIF's own part may hold without a meaning for its forward."""

KIND_WITHIN = {"type", "class", "node", "kind"}
MODEL_PARTS = {"model", "config", "cfg", "hparams", "args", "params", "net", "network", "rwkv"}
MODEL_PARTS |= {"gpt", "spikegpt", "hyper", "parameters", "hyperparameters", "architecture"}
LIF_PARTS = {"lif", "plif", "snn", "neuron", "neurons", "spike", "spiking", "node"}
TENSORS = "blocks"  # below it are names of tensors, which are looked at elsewhere
ALWAYS = {"lif", "plif", "membrane", "refractory", "leaky"}
TRIGGERS = {"tau", "threshold", "thresh", "vth", "vthreshold", "vreset", "reset", "leak", "beta"}
COMPANIONS = {"v", "th", "mem", "spike", "spiking", "snn", "neuron", "fire", "firing", "init"}
COMPANIONS |= {"syn", "s", "m", "soft", "hard", "rest", "constant", "time", "layer", "att", "ffn"}
COMPANIONS |= {"mode", "type", "mechanism", "voltage", "potential", "value", "decay", "per"}
COMPANIONS |= {"learn", "learnable", "trainable", "embedding"}


def words_of(key: str) -> tuple[str, ...]:
    """``vThreshold`` -> ``("v", "threshold")``."""
    return tuple(word.lower() for word in WORD.findall(key))


def context_of(parents: tuple[str, ...]) -> Context:
    """What a part of a configuration speaks of, by the keys that lead to it."""
    parts = [set(words_of(parent)) for parent in parents]
    if parts and parts[-1] & LIF_PARTS:
        return "lif"
    return "model" if all(words & MODEL_PARTS for words in parts) else "other"


def meaning_of(parents: tuple[str, ...], key: str, value: Any) -> Meaning:
    """What ``key`` states; ``"nothing"`` of a LIF, or ``"unknown"`` where it looks like one."""
    words, context = words_of(key), context_of(parents)
    name = "_".join(words)
    if TENSORS in parents:
        return "nothing"
    known = CLEAR.get(name) or (SHORT.get(name) if context != "other" else None)
    if isinstance(value, Mapping):  # a part, whose keys are asked for; a number is none
        return known if known is not None and known != "kind" else "nothing"
    if known is not None:
        return known
    if name in OF_TRAINING:
        return "nothing"
    if context == "lif":
        return "kind" if name in KIND_WITHIN else "unknown"
    return "unknown" if _looks_like_one(words) else "nothing"


def _looks_like_one(words: tuple[str, ...]) -> bool:
    found = {word for word in words if not word.isdigit()}
    if found & ALWAYS:
        return True
    other = len(words) == 1 or found == {"beta"}  # some other part's, an optimizer's
    return bool(found & TRIGGERS) and found <= TRIGGERS | COMPANIONS and not other
