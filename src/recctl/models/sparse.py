"""Sparse item-by-item matrices of the baselines, as scipy's rows and as tensors."""

import numpy as np
import torch
from scipy import sparse


def to_tensors(matrix: sparse.csr_array) -> dict[str, torch.Tensor]:
    """The three arrays of a square CSR matrix, for safetensors."""
    return {
        "indptr": torch.from_numpy(matrix.indptr.astype(np.int64)),
        "indices": torch.from_numpy(matrix.indices.astype(np.int32)),
        "values": torch.from_numpy(matrix.data.astype(np.float32)),
    }


def from_tensors(tensors: dict[str, torch.Tensor], n_items: int) -> sparse.csr_array:
    """The inverse of `to_tensors`; raises KeyError or ValueError for arrays that are none."""
    values, indices, indptr = (
        tensors[name].cpu().numpy() for name in ("values", "indices", "indptr")
    )
    matrix = sparse.csr_array((values, indices, indptr), shape=(n_items, n_items))
    matrix.check_format(full_check=True)
    return matrix


def row(matrix: sparse.csr_array, index: int, columns: torch.Tensor | None) -> torch.Tensor:
    """One row's entries, all or of some columns; float32, -inf where there is none."""
    found = np.full(matrix.shape[1], -np.inf, np.float32)
    kept = slice(*matrix.indptr[index : index + 2])
    found[matrix.indices[kept]] = matrix.data[kept]
    return torch.from_numpy(found if columns is None else found[columns.numpy()])
