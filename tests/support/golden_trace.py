r"""A SpikeGPT of one layer and width two, worked out by hand.

The weights make the arithmetic fit a pocket calculator:

* A LayerNorm over two channels gives (+1, -1) or (-1, +1) by which is larger, and (0, 0) where
  they are equal. (Its eps of 1e-5 moves this by less than 2e-5, hence the tolerance.)
* Keys are multiples of ln 2, so e^k is a power of two; e^w = 1/2; e^u = (1, 2).
* Receptances are multiples of ln 3, so r = sigmoid(R y) is 3/4, 1/4 or 1/2.
* time mix:    m_k = 1/2, m_v = 1 (this token only), m_r = 0 (previous token only).
* channel mix: m_k = 3/4, m_r = 1.

The tokens 0, 1, 2, 0 have the embedding spikes e = (1, 0), (0, 1), (1, 1), (1, 0).
(The 0 in the embedding of token 1 gives a spike, since 0 >= 0.)

Time mix of block 0, with y = LN1(x), y' the previous y, k2 = k / ln 2 = 2 (y + y') / 2,
v = 2 y, r = sigmoid(ln 3 y'), and a, b the sums from the tokens before:

====  =======  =======  =======  =======  ==========  ==================  =================
  t   x = y    y'       k2       v        r           a before            b before
====  =======  =======  =======  =======  ==========  ==================  =================
  0   1, -1    0, 0     1, -1    2, -2    1/2, 1/2    0, 0                0, 0
  1   -1, 1    1, -1    0, 0     -2, 2    3/4, 1/4    4, -1               2, 1/2
  2   0, 0     -1, 1    -1, 1    0, 0     1/4, 3/4    0, 1.5              2, 1.25
  3   1, -1    0, 0     1, -1    2, -2    1/2, 1/2    0, 0.75             1.5, 2.625
====  =======  =======  =======  =======  ==========  ==================  =================

(a after = a / 2 + e^k v and b after = b / 2 + e^k; at t = 0: a = 2 * 2, -2 / 2 and
b = 2, 1/2.) With e^k = 2^k2 and e^u = (1, 2):

    wkv = (a + e^u e^k v) / (b + e^u e^k)
    t = 0:  (0 + 4) / (0 + 2) = 2                (0 - 2) / (0 + 1) = -2
    t = 1:  (4 - 2) / (2 + 1) = 0.6667           (-1 + 4) / (0.5 + 2) = 1.2
    t = 2:  (0 + 0) / (2 + 0.5) = 0              (1.5 + 0) / (1.25 + 4) = 0.2857
    t = 3:  (0 + 4) / (1.5 + 2) = 1.1429         (0.75 - 2) / (2.625 + 1) = -0.3448

The output matrix takes z = (3, -1) * r * wkv. LIF1: h = v / 2 + z / 2, a spike at h >= 1,
v = h, or 0 after a spike:

====  ==================  ==================  ==================  =======  ==================
  t   r * wkv             z                   h                   spikes   v after
====  ==================  ==================  ==================  =======  ==================
  0   1, -1               3, 1                1.5, 0.5            1, 0     0, 0.5
  1   0.5, 0.3            1.5, -0.3           0.75, 0.1           0, 0     0.75, 0.1
  2   0, 0.2143           0, -0.2143          0.375, -0.0571      0, 0     0.375, -0.0571
  3   0.5714, -0.1724     1.7143, 0.1724      1.0446, 0.0576      1, 0     0, 0.0576
====  ==================  ==================  ==================  =======  ==================

Channel mix, with x now including these spikes and y = LN2(x): mix = 3/4 y + 1/4 y'. Three
hidden channels are used, keys 2 mix_0, 2 mix_1 and mix_0 - mix_1, and kv = (q_0 / 4 + q_2 / 4,
6 q_1) of their squares q = relu(key)^2; r = sigmoid(ln 3 y):

====  =======  =======  =============  ===================  =============  =========  ==========
  t   x        y        mix            key                  q              kv         r
====  =======  =======  =============  ===================  =============  =========  ==========
  0   2, -1    1, -1    0.75, -0.75    1.5, -1.5, 1.5       2.25, 0, 2.25  1.125, 0   3/4, 1/4
  1   -1, 1    -1, 1    -0.5, 0.5      -1, 1, -1            0, 1, 0        0, 6       1/4, 3/4
  2   0, 0     0, 0     -0.25, 0.25    -0.5, 0.5, -0.5      0, 0.25, 0     0, 1.5     1/2, 1/2
  3   2, -1    1, -1    0.75, -0.75    1.5, -1.5, 1.5       2.25, 0, 2.25  1.125, 0   3/4, 1/4
====  =======  =======  =============  ===================  =============  =========  ==========

LIF2, with z = r * kv:

====  ============  ==================  =======  ==================  ==============
  t   z             h                   spikes   v after             x after
====  ============  ==================  =======  ==================  ==============
  0   0.8438, 0     0.4219, 0           0, 0     0.4219, 0           2, -1
  1   0, 4.5        0.2109, 2.25        0, 1     0.2109, 0           -1, 2
  2   0, 0.75       0.1055, 0.375       0, 0     0.1055, 0.375       0, 0
  3   0.8438, 0     0.4746, 0.1875      0, 0     0.4746, 0.1875      2, -1
====  ============  ==================  =======  ==================  ==============

LN_out has weight (1, 2) and bias (0.5, 0), and the head's rows are (1, 0), (0, 1), (1, 1):
n = (1, -1) gives (1.5, -2) and logits 1.5, -2, -0.5; n = (-1, 1) gives (-0.5, 2) and
logits -0.5, 2, 1.5; n = (0, 0) gives (0.5, 0) and logits 0.5, 0, 0.5.
"""

from __future__ import annotations

import numpy as np

from spikegpt_neuro.model.spikegpt import ModelShape, Provenance, SpikeGPT

TOLERANCE = 1e-4  # four printed digits, and LayerNorm's eps

TOKENS = np.array([0, 1, 2, 0])

SPIKES = {
    "embedding": [[1, 0], [0, 1], [1, 1], [1, 0]],
    "blocks.0.lif1": [[1, 0], [0, 0], [0, 0], [1, 0]],
    "blocks.0.lif2": [[0, 0], [0, 1], [0, 0], [0, 0]],
}

VALUES: dict[str, list[list[float]]] = {
    "ln0": [[1, -1], [-1, 1], [0, 0], [1, -1]],
    "blocks.0.att.value": [[2, -2], [-2, 2], [0, 0], [2, -2]],
    "blocks.0.att.wkv": [[1, -1], [0.5, 0.3], [0, 0.2143], [0.5714, -0.1724]],
    "blocks.0.att.output": [[3, 1], [1.5, -0.3], [0, -0.2143], [1.7143, 0.1724]],
    "blocks.0.residual1": [[2, -1], [-1, 1], [0, 0], [2, -1]],
    "blocks.0.ffn.mix_k": [[0.75, -0.75], [-0.5, 0.5], [-0.25, 0.25], [0.75, -0.75]],
    "blocks.0.ffn.value": [[1.125, 0], [0, 6], [0, 1.5], [1.125, 0]],
    "blocks.0.ffn.gate": [[0.8438, 0], [0, 4.5], [0, 0.75], [0.8438, 0]],
    "blocks.0.residual2": [[2, -1], [-1, 2], [0, 0], [2, -1]],
}

LOGITS: list[list[float]] = [[1.5, -2, -0.5], [-0.5, 2, 1.5], [0.5, 0, 0.5], [1.5, -2, -0.5]]

FINAL_MEMBRANES = ([0, 0.0576], [0.4746, 0.1875])


def golden_model() -> SpikeGPT:
    """The model described above."""
    ln2, ln3 = np.log(2.0), np.log(3.0)
    one, half, zero = np.ones(2), np.full(2, 0.5), np.zeros(2)
    identity = np.eye(2)
    ffn_key = np.zeros((8, 2))
    ffn_key[:3] = np.array([[2, 0], [0, 2], [1, -1]])
    ffn_value = np.zeros((2, 8))
    ffn_value[:, :3] = np.array([[0.25, 0, 0.25], [0, 6, 0]])
    tensors = {
        "emb.weight": np.array([[0.3, -0.2], [-0.1, 0.0], [0.4, 0.1]]),
        "blocks.0.att.time_decay": np.full(2, np.log(ln2)),
        "blocks.0.att.time_first": np.array([0.0, ln2]),
        "blocks.0.att.time_mix_k": half,
        "blocks.0.att.time_mix_v": one,
        "blocks.0.att.time_mix_r": zero,
        "blocks.0.att.key.weight": 2 * ln2 * identity,
        "blocks.0.att.value.weight": 2 * identity,
        "blocks.0.att.receptance.weight": ln3 * identity,
        "blocks.0.att.output.weight": np.diag([3.0, -1.0]),
        "blocks.0.ffn.time_mix_k": np.full(2, 0.75),
        "blocks.0.ffn.time_mix_r": one,
        "blocks.0.ffn.key.weight": ffn_key,
        "blocks.0.ffn.receptance.weight": ln3 * identity,
        "blocks.0.ffn.value.weight": ffn_value,
        "ln_out.weight": np.array([1.0, 2.0]),
        "ln_out.bias": np.array([0.5, 0.0]),
        "head.weight": np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
    }
    for norm in ("ln0", "ln1", "ln2"):
        tensors[f"blocks.0.{norm}.weight"], tensors[f"blocks.0.{norm}.bias"] = one, zero
    shape = ModelShape(layers=1, width=2, vocab_size=3)
    return SpikeGPT(shape, tensors, Provenance("golden", "golden", "0" * 64))
