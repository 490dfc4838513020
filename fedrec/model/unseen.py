"""Items that nobody trained: their id embeddings and what they follow, predicted from content.

The prediction is a function of the model and of public features, so it costs no message, and it is
no parameter: a checkpoint holds the table as it was trained.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedrec.model.feddmmr import FedDMMR, Modality
from fedrec.model.ridge import fit_ridge

_MOST_ROWS = 20_000  # trained items that a prediction looks at


@dataclass(frozen=True)
class Catalogue:
    """A model over all items that are there when it is asked, trained or not.

    model: with a row of its table for each of them; it shares all else with the trained one.
    modalities: expert name -> features of the same items. known: bool [items + 1], False for items
    that are not trained and of which there is nothing to predict from.
    """

    model: FedDMMR
    modalities: dict[str, Modality]
    known: Tensor


def complete(
    model: FedDMMR,
    modalities: Mapping[str, Modality],
    num_items: int,
    *,
    loudness: float = 1.0,
) -> Catalogue:
    """The model over the items 1..num_items, of which it was trained with the first.

    modalities: features of these items, and maybe of more. loudness: of what is predicted.
    """
    rows = num_items + 1
    held = {
        name: Modality(one.values[:rows], one.present[:rows]) for name, one in modalities.items()
    }
    table = model.item_embedding.weight.detach()
    known = torch.ones(rows, dtype=torch.bool, device=table.device)
    if rows > len(table):
        new, width = rows - len(table), model.dim + model.transitions
        predicted = table.new_zeros(new, table.shape[-1])  # they are no input: they lead nowhere
        for first, end in ((0, model.dim), (model.dim, width)):
            if end > first:  # what is an embedding, and what an item follows, each on its own
                predicted[:, first:end], known[len(table) :] = predict_embeddings(
                    table[:, first:end], held, new, loudness=loudness
                )
        model = _over(model, torch.cat([table, predicted]))
    return Catalogue(model, held, known)


@torch.no_grad()
def predict_embeddings(
    table: Tensor, modalities: Mapping[str, Modality], new: int, *, loudness: float = 1.0
) -> tuple[Tensor, Tensor]:
    """The embeddings of the `new` items after those of the table, by ridge regression from the
    features of the trained items to their rows.

    table: [trained + 1, dim], row 0 is padding; or other columns that candidates are scored by.
    modalities: features of trained and new items.
    loudness: what to multiply predictions by, beyond what makes them as loud as trained rows.
    Returns predicted [new, dim], zero where nothing is known, and known: bool [new].
    """
    trained = len(table)
    known = _known(modalities, trained + new)
    rows = torch.nonzero(known[1:trained]).flatten() + 1
    if not len(rows):
        return table.new_zeros(new, table.shape[1]), table.new_zeros(new, dtype=torch.bool)
    rows = rows[:: -(-len(rows) // _MOST_ROWS)]
    widths = [held.values.shape[1] + 1 for held in modalities.values()]
    targets = table[rows.to(table.device)].double().cpu()
    ridge = fit_ridge(_side_by_side(modalities, rows), targets, widths)
    unseen = _side_by_side(modalities, torch.arange(trained, trained + new))
    found = ridge.predict(unseen) - ridge.middle
    predicted = (ridge.middle + loudness * found).to(table)
    there = known[trained:].to(table.device)
    return predicted * there.unsqueeze(-1), there


def _known(modalities: Mapping[str, Modality], rows: int) -> Tensor:
    """Whether any modality is there: bool [rows], on the CPU."""
    known = torch.zeros(rows, dtype=torch.bool)
    for held in modalities.values():
        known |= held.present.cpu()
    return known


def _side_by_side(modalities: Mapping[str, Modality], rows: Tensor) -> Tensor:
    """The features of all modalities, each followed by whether it is there: float64 [rows,
    features] of these rows, on the CPU; no others are copied."""
    parts = []
    for held in modalities.values():
        wanted = rows.to(held.values.device)
        there = held.present[wanted].unsqueeze(-1)
        parts += [(held.values[wanted] * there).double().cpu(), there.double().cpu()]
    return torch.cat(parts, dim=-1)


def _over(model: FedDMMR, table: Tensor) -> FedDMMR:
    """The same model over another table; nothing else is copied."""
    rows, dim = table.shape
    other = copy.copy(model)
    other._modules = {
        **model._modules,
        "item_embedding": nn.Embedding(rows, dim, padding_idx=0, _weight=table),
    }
    other.num_items = len(table) - 1
    return other
