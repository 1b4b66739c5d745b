"""Multi-head attention with elastic columns, in the place of `torch.nn.MultiheadAttention`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..applications.arguments import count
from ..applications.attention import attention_weights
from ..applications.attention_solve import budget
from ..applications.causal import causal_weights
from ..applications.schedules import EpsilonSchedule
from ..frameworks.options import Grad
from ..frameworks.torch_calls import HALF_DTYPES
from .masks import Masks, masks
from .schedules import add_step, epsilon_of


class ElasticAttention(nn.Module):
    """Multi-head attention whose keys compete: from softmax (lam = 0) to a doubly stochastic matrix (lam = 1).

    Called as `torch.nn.MultiheadAttention` is, with parameters of the same names, so that its ``state_dict`` loads with
    ``strict=False``. New is `theta`, the logit of lam, one a head: lam stays in (0, 1) whatever the optimiser does.
    With ``lam=0, learn_lam=False`` it computes what `torch.nn.MultiheadAttention` does.

    Parameters
    ----------
    embed_dim, num_heads, dropout, bias, kdim, vdim, batch_first, device, dtype
        As for `torch.nn.MultiheadAttention`.
    add_bias_kv, add_zero_attn : bool
        False: an added key would be balanced as all others are. `null_key` has the purpose of both.
    lam : float or list of float
        Elasticity at the start, in (0, 1), one number or one a head; see
        ``elastic_ot.applications.attention.attention_weights``.
    learn_lam : bool
        If False lam is the number given, in [0, 1], and no parameter.
    per_head : bool
        If False all heads share one lam.
    epsilon : float or EpsilonSchedule
        Temperature, in the units of the scaled scores. With an ``elastic_ot.applications.EpsilonSchedule`` it is that
        of `step`. A falling one tends to a permutation with ``lam=1, learn_lam=False``, to the largest score of every
        row with other `lam`; the balance then needs more `iterations`, or `tol`.
    iterations, tol, grad
        As for `attention_weights`.
    null_key : bool
        One more key a head with a learned score `null_score`, which stands for no key at all; not together with `tol`.
        It begins at 0, which with a fixed ``lam=0`` is softmax-off-by-one.

    Attributes
    ----------
    lam : Tensor or float
        The elasticity, shape (num_heads,), or (1,) if it is shared; a float where it is not learned.
    step : Tensor or None
        Calls in training, shape (), where `epsilon` is a schedule; else None. It is a buffer, saved in the
        ``state_dict``, and stands still in evaluation. Assign to it with ``step.fill_`` to count otherwise, say where a
        step of the optimiser has several calls.

    Notes
    -----
    - **Self-attention with padding** (``query is key``): queries that are padding take no part in the balance, so that
      a sequence gives the same in every batch; what comes out of them is the bias of `out_proj`. With lam = 0 fixed
      there is no balance, and they are as torch has them.
    - **A causal mask is not enough**: a column sum over all queries would tell early queries about late ones.
      ``is_causal=True`` balances over the past alone (`causal_weights`); it needs no `attn_mask`, and is not for `tol`,
      `grad` and `null_key`. `torch.nn.TransformerEncoder` sets it for causal masks by itself.
    - A query that may attend to nothing has weights 0, not nan.
    - Weights are computed in float32 at least. Those returned are after dropout, as torch's.
    - Nested tensors are refused: construct a `torch.nn.TransformerEncoder` with ``enable_nested_tensor=False``.

    Raises
    ------
    ValueError, TypeError
        Bad arguments; shapes or dtypes that do not fit.

    Examples
    --------
    >>> import torch
    >>> from elastic_ot.torch import ElasticAttention
    >>> attention = ElasticAttention(16, 4, batch_first=True)
    >>> x = torch.randn(2, 10, 16)
    >>> out, weights = attention(x, x, x)
    >>> out.shape, weights.shape
    (torch.Size([2, 10, 16]), torch.Size([2, 10, 10]))
    >>> attention.lam.tolist()
    [0.5, 0.5, 0.5, 0.5]
    """

    # torch.nn.TransformerEncoderLayer reads this in evaluation: if True it takes the weights and computes a softmax
    # of its own, without a call.
    _qkv_same_embed_dim = False

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        lam: float | Sequence[float] = 0.5,
        learn_lam: bool = True,
        per_head: bool = True,
        epsilon: float | EpsilonSchedule = 1.0,
        iterations: int = 5,
        tol: float | None = None,
        grad: Grad | None = None,
        null_key: bool = False,
    ) -> None:
        super().__init__()
        check_heads(embed_dim, num_heads)
        for name, given in (("add_bias_kv", add_bias_kv), ("add_zero_attn", add_zero_attn)):
            if given:
                raise ValueError(f"{name} is True; an added key would be balanced as all are, use null_key=True")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is {dropout}; it must lie in [0, 1]")
        add_step(self, epsilon, device)
        budget(None, iterations, tol, grad)
        if null_key and tol:
            raise ValueError(f"tol is {tol} and null_key is True; a null key takes iterations, no tolerance")
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = embed_dim, num_heads, dropout, batch_first
        self.kdim = embed_dim if kdim is None else count("kdim", kdim)
        self.vdim = embed_dim if vdim is None else count("vdim", vdim)
        self.epsilon, self.iterations, self.tol, self.grad = epsilon, iterations, tol, grad

        def parameter(wanted: bool, *shape: int) -> nn.Parameter | None:
            return nn.Parameter(torch.zeros(shape, device=device, dtype=dtype)) if wanted else None

        packed = self.kdim == self.vdim == embed_dim
        self.register_parameter("in_proj_weight", parameter(packed, 3 * embed_dim, embed_dim))
        self.register_parameter("q_proj_weight", parameter(not packed, embed_dim, embed_dim))
        self.register_parameter("k_proj_weight", parameter(not packed, embed_dim, self.kdim))
        self.register_parameter("v_proj_weight", parameter(not packed, embed_dim, self.vdim))
        self.register_parameter("in_proj_bias", parameter(bias, 3 * embed_dim))
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        self.register_parameter("null_score", parameter(null_key, num_heads))
        start = _checked_lam(lam, learn_lam, num_heads if per_head else 1)
        self._fixed_lam = None if learn_lam else float(start)
        self.register_parameter("theta", parameter(learn_lam, num_heads if per_head else 1))
        with torch.no_grad():
            if self.theta is not None:
                self.theta.copy_(torch.logit(start))
            for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
                if weight is not None:
                    nn.init.xavier_uniform_(weight)
            if bias:
                nn.init.zeros_(self.out_proj.bias)

    @classmethod
    def from_multihead(cls, attention: nn.MultiheadAttention, **options: object) -> ElasticAttention:
        """The weights of a `torch.nn.MultiheadAttention`, copied, with elastic columns.

        Parameters
        ----------
        attention : torch.nn.MultiheadAttention
            Without `add_bias_kv` and `add_zero_attn`.
        **options
            Those of `ElasticAttention` from `lam` on.

        Examples
        --------
        >>> import torch
        >>> from elastic_ot.torch import ElasticAttention
        >>> trained = torch.nn.MultiheadAttention(8, 2)
        >>> same = ElasticAttention.from_multihead(trained, lam=0.0, learn_lam=False)
        >>> x = torch.randn(5, 1, 8)
        >>> torch.allclose(same(x, x, x)[0], trained(x, x, x)[0], atol=1e-6)
        True
        """
        weight = attention.out_proj.weight
        made = cls(
            attention.embed_dim,
            attention.num_heads,
            attention.dropout,
            attention.in_proj_bias is not None,
            attention.bias_k is not None,
            attention.add_zero_attn,
            attention.kdim,
            attention.vdim,
            attention.batch_first,
            weight.device,
            weight.dtype,
            **options,  # type: ignore[arg-type]
        )
        made.load_state_dict(attention.state_dict(), strict=False)
        return made.train(attention.training)

    @property
    def lam(self) -> Tensor:
        """The elasticity."""
        return self._fixed_lam if self.theta is None else self.theta.sigmoid()

    def extra_repr(self) -> str:
        """What a printed module says."""
        lam = "learned" if self.theta is not None else self._fixed_lam
        return f"{self.embed_dim}, {self.num_heads}, lam={lam}, epsilon={self.epsilon}, iterations={self.iterations}"

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output and, if wanted, the weights, in the shapes of `torch.nn.MultiheadAttention`."""
        self._check(query, key, value)
        alone = query.dim() == 2
        itself = query is key
        query, key, value = (self._batch_first(x) for x in (query, key, value))
        if alone and key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
        shape = (query.shape[0], self.num_heads, query.shape[1], key.shape[1])
        masked = masks(attn_mask, key_padding_mask, shape)
        q, k, v = (x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in self._projected(query, key, value))
        scores = (q / math.sqrt(q.shape[-1])) @ k.mT
        weights = self._weights(scores, masked, itself, is_causal).to(v.dtype)
        weights = functional.dropout(weights, self.dropout, self.training)
        out = self.out_proj((weights @ v).transpose(1, 2).flatten(-2))
        shown = (weights.mean(dim=1) if average_attn_weights else weights) if need_weights else None
        if alone:
            return out.squeeze(0), None if shown is None else shown.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), shown

    def _weights(self, scores: Tensor, masked: Masks, itself: bool, is_causal: bool) -> Tensor:
        if scores.dtype in HALF_DTYPES:
            scores = scores.float()
        if masked.added is not None:
            scores = scores + masked.added
        epsilon = epsilon_of(self, self.epsilon)
        options: dict[str, Any] = {"epsilon": epsilon, "mask": masked.allowed}
        if self.theta is None:
            options["lam"] = self._fixed_lam
        else:
            options["rho"] = epsilon * self.theta.exp()
        if is_causal:
            self._check_causal(scores)
            return causal_weights(scores, rounds=self.iterations, **options)
        if itself and masked.keys is not None and self._fixed_lam != 0:
            options["mask"] = masked.allowed & masked.keys[:, None, :, None]
        options |= {"iterations": self.iterations, "tol": self.tol, "grad": self.grad, "null_score": self.null_score}
        return attention_weights(scores, **options)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> list[Tensor]:
        if self.in_proj_weight is None:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        else:
            weights = self.in_proj_weight.chunk(3)
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        return [functional.linear(*given) for given in zip((query, key, value), weights, biases, strict=True)]

    def _batch_first(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        given = (("query", query, self.embed_dim), ("key", key, self.kdim), ("value", value, self.vdim))
        for name, x, width in given:
            if x.is_nested:
                raise TypeError(
                    f"{name} is a nested tensor; pad it, or construct the TransformerEncoder that made it with "
                    "enable_nested_tensor=False"
                )
            if x.dim() not in (2, 3) or x.dim() != query.dim() or x.shape[-1] != width:
                layout = "(N, length, width)" if self.batch_first else "(length, N, width)"
                raise ValueError(
                    f"{name} has shape {tuple(x.shape)}; it must be {layout}, or (length, width) without a batch, "
                    f"with width {width} and as many dimensions as query, which has {query.dim()}"
                )
        if key.shape[:-1] != value.shape[:-1]:
            raise ValueError(f"key has shape {tuple(key.shape)} and value {tuple(value.shape)}; lengths must agree")
        batch = 0 if self.batch_first else 1
        if query.dim() == 3 and query.shape[batch] != key.shape[batch]:
            raise ValueError(f"query has shape {tuple(query.shape)} and key {tuple(key.shape)}; batches must agree")

    def _check_causal(self, scores: Tensor) -> None:
        for name, value in (("tol", self.tol), ("grad", self.grad), ("null_key", self.null_score)):
            if value is not None:
                raise ValueError(f"is_causal is True and the module has {name}, which causal attention does not take")
        if scores.shape[-2] != scores.shape[-1]:
            raise ValueError(f"is_causal is True with {scores.shape[-2]} queries and {scores.shape[-1]} keys")


def check_heads(embed_dim: int, num_heads: int) -> None:
    """Refuse heads of unequal width."""
    count("embed_dim", embed_dim)
    count("num_heads", num_heads)
    if embed_dim % num_heads:
        raise ValueError(f"embed_dim is {embed_dim} and num_heads {num_heads}; the first must be divisible by it")


def _checked_lam(lam: float | Sequence[float], learn_lam: bool, size: int) -> Tensor:
    """The elasticity at the start, shape () or (size,)."""
    start = torch.as_tensor(lam, dtype=torch.float64)
    if start.shape not in ((), (size,)) or (start.dim() and not learn_lam):
        wanted = f"a number or {size} of them" if learn_lam else "a number where learn_lam is False"
        raise ValueError(f"lam has shape {tuple(start.shape)}; it must be {wanted}")
    inside = (start > 0) & (start < 1) if learn_lam else (start >= 0) & (start <= 1)
    if not bool(inside.all()):
        limits = "(0, 1) to be learned; learn_lam=False also takes 0 and 1" if learn_lam else "[0, 1]"
        raise ValueError(f"lam is {lam}; it must lie in {limits}")
    return start
