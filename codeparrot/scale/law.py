"""L(N, D) = E + A / N^alpha + B / D^beta: the loss of N parameters after D tokens (Hoffmann et al., 2022, approach 3)."""

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy import ndarray

FLOPS_PER_TOKEN_AND_PARAMETER = 6
"""Forward and backward: C = 6 N D, as Kaplan et al. (2020) and Hoffmann et al. (2022) count."""


class Law(NamedTuple):
    """A fitted law."""

    E: float
    """Nats a token that no size and no data would take away."""
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, parameters: "float | ndarray", tokens: "float | ndarray") -> "float | ndarray":
        """Return the loss in nats a token: infinite where an exponent below 0 makes it so."""
        import numpy as np

        with np.errstate(over="ignore"):  # draws of few runs have exponents of any size
            return self.E + self.A * np.exp(-self.alpha * np.log(parameters)) + self.B * np.exp(-self.beta * np.log(tokens))

    def optimum(self, flops: float) -> tuple[float, float]:
        """Return the parameters and the tokens of the lowest loss that this much computation can reach (6 N D = C).

        Both are NaN where the loss does not fall with parameters or with tokens: then there are none.
        """
        if min(self) <= 0:
            return math.nan, math.nan
        product = flops / FLOPS_PER_TOKEN_AND_PARAMETER
        # dL/dN = 0 along N D = product: alpha A / N^alpha = beta B / D^beta.
        ratio = (self.alpha * self.A) / (self.beta * self.B)
        log_parameters = (math.log(ratio) + self.beta * math.log(product)) / (self.alpha + self.beta)
        return math.exp(log_parameters), product / math.exp(log_parameters)


class PowerLaw(NamedTuple):
    """L(X) = (scale / X)^exponent (Kaplan et al., 2020)."""

    scale: float
    exponent: float

    def loss(self, x: "float | ndarray") -> "float | ndarray":
        return (self.scale / x) ** self.exponent
