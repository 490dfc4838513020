from __future__ import annotations

import pytest
import torch

from fedrec.model.feddmmr import Modality
from fedrec.model.unseen import complete, predict_embeddings

TRAINED, NEW, DIM = 30, 4, 3


def toy(*, missing: dict[str, list[int]] | None = None) -> tuple[torch.Tensor, dict[str, Modality]]:
    """A table [35, 3] that is linear in two modalities; `missing` items have no features there."""
    generator = torch.manual_seed(0)
    modalities, table = {}, torch.full((TRAINED + NEW + 1, DIM), 0.5)
    for name, width in (("visual", 4), ("semantic", 2)):
        values = torch.randn(len(table), width, generator=generator)
        present = torch.ones(len(table), dtype=torch.bool)
        present[[0, *(missing or {}).get(name, [])]] = False
        modalities[name] = Modality(values, present)
        turn = torch.randn(width, DIM, generator=generator)
        table = table + torch.where(present[:, None], values @ turn, 1.0)
    table[0] = 0
    return table, modalities


def test_a_linear_table_is_predicted_exactly() -> None:
    table, modalities = toy()
    predicted, known = predict_embeddings(table[: TRAINED + 1], modalities, NEW)
    assert predicted.dtype == table.dtype and known.all()
    torch.testing.assert_close(predicted, table[TRAINED + 1 :], rtol=1e-3, atol=1e-3)


def test_a_modality_that_is_not_there_is_no_vector_of_zeros() -> None:
    table, modalities = toy(missing={"visual": [1, 5, 9, 20, 33], "semantic": [2, 5, 9, 12, 33]})
    predicted, known = predict_embeddings(table[: TRAINED + 1], modalities, NEW)
    assert known.tolist() == [True, True, False, True]
    assert not predicted[2].any()
    wanted = table[TRAINED + 1 :][known]
    torch.testing.assert_close(predicted[known], wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("features", ["none", "of new items alone"])
def test_without_features_of_trained_items_nothing_is_known(features) -> None:
    table, modalities = toy(missing={"visual": list(range(TRAINED + 1))})
    held = {} if features == "none" else {"visual": modalities["visual"]}
    predicted, known = predict_embeddings(table[: TRAINED + 1], held, NEW)
    assert predicted.shape == (NEW, DIM) and not predicted.any() and not known.any()


def test_the_prediction_of_an_item_does_not_depend_on_other_new_items() -> None:
    table, modalities = toy()
    noisy = table[: TRAINED + 1] + 0.3 * torch.randn(TRAINED + 1, DIM)
    several, _ = predict_embeddings(noisy, modalities, NEW)
    first = {n: Modality(m.values[:-3], m.present[:-3]) for n, m in modalities.items()}
    one, _ = predict_embeddings(noisy, first, 1)
    torch.testing.assert_close(one, several[:1])


def test_a_large_catalogue_is_looked_at_in_part(monkeypatch) -> None:
    monkeypatch.setattr("fedrec.model.unseen._MOST_ROWS", 12)
    table, modalities = toy()
    read = table.clone()
    read[2:31:3] = torch.nan  # with 30 rows and 12 at most, every third counts from the first
    read[3:31:3] = torch.nan
    predicted, _ = predict_embeddings(read[: TRAINED + 1], modalities, NEW)
    torch.testing.assert_close(predicted, table[TRAINED + 1 :], rtol=1e-3, atol=1e-3)


def test_a_model_is_completed_without_touching_it(toy_config, toy_model, toy_node) -> None:
    model, node = toy_model(toy_config()), toy_node(toy_config())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wider = {
        name: Modality(torch.cat([m.values, m.values[1:4]]), torch.cat([m.present, m.present[1:4]]))
        for name, m in node.modalities.items()
    }
    found = complete(model, wider, 43)
    table = found.model.item_embedding.weight
    assert table.shape == (44, 8) and found.model.num_items == 43 and model.num_items == 40
    assert torch.equal(table[:41], before["item_embedding.weight"])
    assert found.model.backbone is model.backbone and found.model.gate is model.gate
    assert [len(held.values) for held in found.modalities.values()] == [44, 44]
    assert found.known.all()  # each of items 1 to 3 has one of the two
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_nothing_to_complete_is_the_model_itself(toy_config, toy_model, toy_node) -> None:
    model, node = toy_model(toy_config()), toy_node(toy_config())
    found = complete(model, node.modalities, 40)
    assert found.model is model and found.known.all() and len(found.known) == 41


def test_loudness_multiplies_what_differs_from_the_mean() -> None:
    table, modalities = toy()
    trained = table[: TRAINED + 1]
    one, _ = predict_embeddings(trained, modalities, NEW)
    other, _ = predict_embeddings(trained, modalities, NEW, loudness=1.5)
    mean = trained[1:].mean(0)
    torch.testing.assert_close(other - mean, 1.5 * (one - mean), rtol=1e-4, atol=1e-5)


def test_transitions_of_new_items_are_predicted_beside_their_embeddings(
    toy_config, toy_model, toy_node
) -> None:
    """The embeddings are those that are predicted where there are no transitions."""
    config = toy_config("model.transitions=4")
    model, node = toy_model(config), toy_node(config)
    wider = {
        name: Modality(torch.cat([m.values, m.values[1:4]]), torch.cat([m.present, m.present[1:4]]))
        for name, m in node.modalities.items()
    }
    found = complete(model, wider, 43).model
    table = found.item_embedding.weight
    assert table.shape == (44, 16) and (found.dim, found.transitions) == (8, 4)
    for columns in (slice(8), slice(8, 12)):
        expected, _ = predict_embeddings(model.item_embedding.weight[:, columns], wider, 3)
        torch.testing.assert_close(table[41:, columns], expected)
    assert (table[41:, 12:] == 0).all()  # a new item is no input, so where it leads is not asked
