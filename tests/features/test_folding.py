"""Batch norms folded into convolutions: fewer layers, the same numbers."""

import torch
from torch import Tensor, nn

from features.folding import folded
from features.libraries import library


def trained(model: nn.Module) -> nn.Module:
    """With norms that are not the identity."""
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
    return model.eval()


def norms(model: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in model.modules())


def test_a_norm_with_known_numbers_becomes_a_scale_and_a_shift() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1, eps=0.0)).eval()
    with torch.no_grad():
        model[0].weight.fill_(3.0)
        model[1].running_mean.fill_(2.0)
        model[1].running_var.fill_(4.0)
        model[1].weight.fill_(10.0)
        model[1].bias.fill_(1.0)
        found = folded(model, torch.ones(1, 1, 2, 2))
    assert norms(found) == 0 and norms(model) == 1
    assert found[0].weight.item() == 15.0  # 3 * 10 / 2
    assert found[0].bias.item() == -9.0  # 1 - 2 * 10 / 2


def test_timms_networks_keep_their_activations_and_their_outputs() -> None:
    for name in ("tf_efficientnet_lite0", "resnet18"):
        model = trained(library("timm").create_model(name, num_classes=0))
        pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        found = folded(model, pictures[:1])
        assert norms(model) > 0 and norms(found) == 0
        with torch.inference_mode():
            torch.testing.assert_close(found(pictures), model(pictures), rtol=1e-3, atol=1e-4)


def test_a_network_that_uses_what_a_convolution_gave_in_two_places_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)

        def forward(self, pictures: Tensor) -> Tensor:
            found = self.convolution(pictures)
            return (found + self.norm(found)).mean(dim=(2, 3))

    model = trained(Twice())
    assert folded(model, torch.ones(1, 3, 4, 4)) is model


def test_a_network_without_norms_is_returned_as_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    assert folded(model, torch.ones(1, 3, 4, 4)) is model
