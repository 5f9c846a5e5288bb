"""The order of the rows of score maps: bin by bin here, class by class in the paper's code."""

from typing import Literal

from torch import Tensor

RowOrder = Literal["bin_major", "class_major"]


def convert_rows(rows: Tensor, k: int, *, to: RowOrder) -> Tensor:
    """Rows of a layer of score maps (or box maps) in the other order.

    `class_major` is the order of the paper's released code and of everything imported from it: row
    (c*k + i)*k + j belongs to class c, bin row i, bin column j. `bin_major` is the order of
    `RFCNHead`: row (i*k + j)*C + c, so that a channels-last convolution writes all classes of a
    cell side by side, which is what the pooling reads fastest. Box maps count a class for each
    number: set s, coordinate n is class 4*s + n.

    Args:
        rows: [k*k*C, ...], the weight or the bias of the layer, its gradient or its momentum, in
            the order that `to` is not.
        k: bins a side. to: the order wanted.

    Returns:
        a contiguous copy of the same shape.

    Raises:
        ValueError: the rows are not a multiple of k*k.
    """
    if k < 1 or rows.dim() == 0 or rows.shape[0] % (k * k):
        raise ValueError(f"rows: {list(rows.shape)} does not begin with a multiple of k*k, k = {k}")
    classes = rows.shape[0] // (k * k)
    sides = (classes, k * k) if to == "bin_major" else (k * k, classes)
    return rows.unflatten(0, sides).transpose(0, 1).flatten(0, 1).contiguous()


def bins_of_rows(maps: Tensor, k: int) -> Tensor:
    """Maps of a convolution whose rows lie bin by bin, as a view by class and bin.

    maps: [N, k*k*C, H, W] -> [N, C, k, k, H, W]; of channels-last maps, all classes of a cell and
    bin lie side by side.
    """
    return maps.unflatten(1, (k, k, -1)).permute(0, 3, 1, 2, 4, 5)
