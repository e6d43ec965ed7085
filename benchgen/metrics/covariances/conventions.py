"""How other tools take the root of a product of singular covariances."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

CONVENTIONS = ("torch-fidelity", "torchmetrics", "pytorch-fid", "clean-fid", "dgm-eval")
"""Tools whose Fréchet distance can be followed into singular covariances."""


def tool_root_sum(convention: str, ours: Tensor, theirs: Tensor) -> Tensor:
    """Real parts of the roots of the eigenvalues of the covariances' product ``[d]``.

    Their sum is the trace of the principal root. Where both covariances have full rank, all tools
    agree; where one is singular, rounding adds a little for every null direction, and the order of
    the product and the library show. pytorch-fid, clean-fid and dgm-eval take the root by scipy,
    whose trace is the same; if a product is so singular that some version of scipy finds no
    finite root, these tools add 10⁻⁶ to the diagonals there, which is not followed.

    Args:
        convention: One of ``CONVENTIONS``.
        ours, theirs: Covariances ``[d, d]`` of the generated images and of the reference, float64.
    """
    if convention == "torchmetrics":
        roots: Tensor = torch.linalg.eigvals(theirs @ ours).sqrt().real
    else:
        # numpy as these tools use it: rounding differs between libraries, and here it shows.
        product = ours.cpu().numpy() @ theirs.cpu().numpy()
        eigenvalues = np.linalg.eigvals(product).astype(np.complex128)
        roots = torch.from_numpy(np.sqrt(eigenvalues).real).to(ours.device)
    return roots
