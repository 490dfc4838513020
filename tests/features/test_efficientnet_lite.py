"""The same EfficientNet-Lite0 under both libraries' names."""

from pathlib import Path

import numpy as np
import torch

from features.efficientnet_lite import is_lite, timm_names
from features.encoders import ImageEncoder
from features.libraries import library
from features.weights import read_weights


def test_every_weight_gets_the_name_and_the_shape_that_timm_expects(
    efficientnet_file: Path,
) -> None:
    weights = read_weights(efficientnet_file)
    wanted = library("timm").create_model("tf_efficientnet_lite0").state_dict()
    renamed = timm_names(weights, wanted)
    assert is_lite(weights) and not is_lite(wanted)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tensor.shape for name, tensor in wanted.items()
    }


def test_a_name_that_no_rule_covers_stays_and_is_left_for_strict_loading_to_refuse() -> None:
    wanted = ["blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pw.weight"]
    given = {
        "_blocks.0._depthwise_conv.weight": 1,
        "_blocks.1._expand_conv.weight": 2,
        "_blocks.1._bn2.bias": 3,
        "_blocks.0._se_reduce.weight": 4,
        "_blocks.9._bn1.bias": 5,
    }
    assert timm_names(given, wanted) == {
        "blocks.0.0.conv_dw.weight": 1,
        "blocks.1.0.conv_pw.weight": 2,
        "blocks.1.0.bn3.bias": 3,
        "_blocks.0._se_reduce.weight": 4,
        "_blocks.9._bn1.bias": 5,
    }


def test_pooled_features_agree_with_the_library_that_the_weights_come_from(
    efficientnet: ImageEncoder, efficientnet_file: Path
) -> None:
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=str(efficientnet_file)
    ).eval()
    generator = torch.Generator().manual_seed(3)
    prepared = torch.randint(0, 256, (6, 3, 224, 224), dtype=torch.uint8, generator=generator)
    same = (prepared.float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = theirs.extract_features(same).mean(dim=(2, 3)).numpy()
    found = efficientnet.encode(list(prepared))
    cosines = (found * expected).sum(1)
    cosines /= np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert found.shape == (6, 1280)
    assert cosines.min() >= 0.9999
