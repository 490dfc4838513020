"""Items that nobody trained: their id embeddings, predicted from what is known of their content."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedrec.model.feddmmr import FedDMMR, Modality

RIDGE = 1.0


@dataclass(frozen=True)
class Catalogue:
    """A model over all items that are known when it is asked, trained or not.

    model: with a row of its table for each of them; it shares all else with the trained one.
    modalities: expert name -> features of the same items. known: bool [items + 1], False for items
    of which there is nothing to predict from, and for padding.
    """

    model: FedDMMR
    modalities: dict[str, Modality]
    known: Tensor


def complete(model: FedDMMR, modalities: Mapping[str, Modality], num_items: int) -> Catalogue:
    """The model over the items 1..num_items, of which it was trained with the first alone.

    modalities: features of these items, and maybe of more.
    """
    rows = num_items + 1
    held = {
        name: Modality(one.values[:rows], one.present[:rows]) for name, one in modalities.items()
    }
    table = model.item_embedding.weight.detach()
    known = torch.arange(rows, device=table.device) > 0
    if rows > len(table):
        table, predicted = predict_embeddings(table, held)
        known[model.num_items + 1 :] = predicted
        model = _over(model, table)
    return Catalogue(model, held, known)


def predict_embeddings(table: Tensor, modalities: Mapping[str, Modality]) -> tuple[Tensor, Tensor]:
    n=len(table)
    X=torch.cat([torch.cat([m.values*m.present[:,None],m.present[:,None].float()],1) for m in modalities.values()],1).double()
    A=X[1:n]; y=table[1:n].double(); mu=y.mean(0)
    w=torch.linalg.solve(A.T@A+3.0*torch.eye(A.shape[1],dtype=A.dtype),A.T@(y-mu))
    p=(X[n:]@w+mu).float()
    return torch.cat([table,p]), torch.ones(len(p),dtype=torch.bool)


def _over(model: FedDMMR, table: Tensor) -> FedDMMR:
    """The same model over another table."""
    extended = copy.copy(model)
    extended._modules = dict(model._modules)
    extended.num_items = len(table) - 1
    extended.item_embedding = nn.Embedding.from_pretrained(table, padding_idx=0)
    return extended
