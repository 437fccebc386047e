"""Open-set recognition: metrics, losses, baselines, the evidential classifier, its input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from golden.case import Case
from internvideo.data.clip_sampling import SamplingConfig
from internvideo.models.bayesian import BayesianLinear, Prior, Weights
from internvideo.models.open_set import CenterLinear, OpenSetClassifier, OpenSetClassifierConfig
from internvideo.models.openmax import OpenMax, distances
from internvideo.models.uncertainty import Dirichlet, bald, entropy, variances
from internvideo.tasks.open_set.debias import DebiasHead, hsic
from internvideo.tasks.open_set.losses import (
    EvidentialConfig,
    center_distance,
    complexity,
    evidential_loss,
    radius_loss,
)
from internvideo.tasks.open_set.metrics import (
    Detection,
    calibration,
    open_f1,
    training_threshold,
    unknown_selections,
)
from internvideo.video.preprocessing import PRESETS, Preprocessing
from internvideo.video.transforms import resize_short_side
from internvideo.zoo.kinds.open_set import OPEN_SET


def _tolerances(case: Case) -> tuple[dict[str, float], dict[str, float]]:
    """Return the tolerance of outputs and that of gradients."""
    stated = case.meta["tolerance"]
    if not isinstance(stated, dict):
        stated = {"forward": stated, "grad": stated}
    return tuple({"rtol": stated[k], "atol": stated[k]} for k in ("forward", "grad"))  # type: ignore[return-value]


# Metrics


def check_metrics(case: Case) -> None:
    config = case.meta["config"]
    tensors = {name: each.numpy() for name, each in case.tensors.items()}
    close = {"rel": case.meta["tolerance"], "abs": case.meta["tolerance"]}
    known = config["known"]

    def given(name: str) -> tuple[np.ndarray, np.ndarray]:
        return tensors[f"input.ind_{name}"], tensors[f"input.ood_{name}"]

    def expected(name: str) -> Any:
        return pytest.approx(tensors[f"output.{name}"], **close)

    doubts, labels, confidences = given("uncertainty"), given("label"), given("conf")
    training = tensors["input.train_uncertainty"]
    threshold = training_threshold(training)
    assert threshold == expected("threshold")
    # what the script for ViT does, which sorts the wrong way round
    assert -training_threshold(-training) == expected("threshold_ascending_variant")
    found = Detection(*doubts)
    assert [found.auroc, found.aupr, found.fpr95] == expected("auroc_aupr_fpr95")
    decided = Detection(*(np.float64(each > threshold) for each in doubts))
    assert [decided.auroc, decided.aupr, decided.fpr95] == expected("auroc_aupr_fpr95_thresholded")
    assert decided.auroc == expected("auc_binary")
    predictions = given("pred")
    hits = predictions[0] == labels[0]
    assert hits.mean() == expected("closed_acc")
    rejected = [
        np.where(doubt > threshold, known, answer)
        for doubt, answer in zip(doubts, predictions, strict=True)
    ]
    options = {"trials": config["trials"], "seed": config["np_seed"]}
    scores = open_f1(
        rejected[0], labels[0], rejected[1], labels[1], known,
        num_unknown=config["unknown"], **options,
    )  # fmt: skip
    assert 100 * scores.openness == expected("openness_percent")
    assert scores.mean == expected("macro_f1")
    assert scores.std == expected("macro_f1_std")
    assert scores.weighted == expected("open_maf1_mean_std")
    for row, chosen in zip(
        tensors["input.class_selection"],
        unknown_selections(config["unknown"], **options),
        strict=True,
    ):
        for trial, picked in zip(row, chosen, strict=True):
            assert sorted(trial[trial >= 0]) == np.flatnonzero(picked).tolist()
    doubt, confidence = np.concatenate(doubts), np.concatenate(confidences)
    is_unknown = rejected[1] == known
    for name, correct in (
        ("open_k1", np.concatenate([rejected[0] == labels[0], is_unknown])),
        ("open_binary", np.concatenate([rejected[0] != known, is_unknown])),
    ):
        report = calibration(correct, confidence, doubt, bins=config["bins"])
        assert [report.ece, report.eavuc] == expected(f"ece_eavuc.{name}")
    closed = calibration(hits, confidences[0], doubts[0], bins=config["bins"])
    assert [closed.ece, closed.eavuc] == expected("ece_eavuc.closed")


def check_confidence_metrics(case: Case) -> None:
    tensors = {name: each.numpy() for name, each in case.tensors.items()}
    known, tolerance = case.meta["config"]["known"], case.meta["tolerance"]
    threshold = training_threshold(1 - tensors["input.train_confidence"], by_confidence=True)
    assert 1 - threshold == pytest.approx(float(tensors["output.threshold"]), abs=tolerance)
    softmax = [tensors[f"input.{name}_softmax"] for name in ("ind", "ood")]
    openmax = [tensors[f"input.{name}_openmax"] for name in ("ind", "ood")]
    doubts = [1 - each.max(axis=1) for each in softmax]
    answers = {
        "softmax": (softmax[0], doubts),
        "softmax_thresholded": (softmax[0], [np.float64(each > threshold) for each in doubts]),
        "openmax_binary": (openmax[0], [np.float64(e.argmax(axis=1) == known) for e in openmax]),
    }
    for name, (shares, scores) in answers.items():
        hits = shares.argmax(axis=1) == tensors["input.ind_label"]
        found = Detection(*scores)
        values = [hits.mean(), found.auroc, found.aupr, found.fpr95]
        assert values == pytest.approx(tensors[f"output.{name}"], abs=tolerance), name


# Losses


def check_evidential(case: Case) -> None:
    shared = case.meta["config"]
    labels = case.tensors["input.target"]
    for place, run in enumerate(case.meta["cases"]):
        name = f"case{run.get('index', place):02d}"
        calibration_kind = "joint" if run["disentangle"] else "product"
        config = EvidentialConfig(
            evidence=run["evidence"],
            rule=run["loss_type"].replace("_", "-"),
            divergence=run["with_kldiv"],
            calibration=calibration_kind if run["with_avuloss"] else "none",
            annealing=run["annealing_method"],
            annealing_epochs=shared["annealing_step"],
            annealing_start=shared["annealing_start"],
        )
        epochs = {"epoch": run["epoch"], "num_epochs": run["total_epoch"]}
        logits = case.tensors["input.logits"].clone().requires_grad_()
        loss = evidential_loss(logits, labels, config, **epochs)
        forward, grad = _tolerances(case)
        for ours, theirs in (
            (loss.fit, "loss_cls"),
            (loss.variance, "loss_var"),
            (loss.divergence, "loss_kl"),
            (loss.calibration, "loss_avu"),
        ):
            stored = f"output.{name}.{theirs}"
            assert (ours is not None) == (stored in case.tensors), stored
            if ours is not None:
                case.assert_close(ours, stored, **forward)
        case.assert_close(loss.total, f"output.{name}.total", **forward)
        case.assert_close(loss.uncertainty, f"output.{name}.uncertainty", **forward)
        weight = torch.tensor(config.weight(**epochs))
        case.assert_close(weight, f"output.{name}.lambda", **forward)
        case.assert_close(loss.evidence_where(True), f"output.{name}.evidence_succ", **forward)
        case.assert_close(loss.evidence_where(False), f"output.{name}.evidence_fail", **forward)
        loss.total.backward()
        assert logits.grad is not None
        case.assert_close(logits.grad, f"grad.{name}.logits", **grad)
    for method in ("step", "exp"):
        stored = f"output.annealing_{method}"
        if stored not in case.tensors:
            continue
        config = EvidentialConfig(
            annealing=method,
            annealing_epochs=shared["annealing_step"],
            annealing_start=shared["annealing_start"],
        )
        count = len(case.tensors[stored])
        weights = torch.tensor([config.weight(epoch, count) for epoch in range(count)])
        case.assert_close(weights, stored, **_tolerances(case)[0])


def check_debias(case: Case) -> None:
    config, forward_grad = case.meta["config"], _tolerances(case)
    head = DebiasHead(
        config["in_channels"],
        config["num_classes"],
        mode="alternating" if config["alternative"] else "joint",
        weight=config["loss_factor"],
        dependence_weight=config["hsic_factor"],
        drop_rate=0.0,
        shuffled=config["bias_input"],
        still=config["bias_network"],
    )
    head.load_state_dict(case.group("state."))
    volume = case.tensors["input.feat"].clone().requires_grad_()
    order = case.tensors.get("input.time_permutation")
    terms = head(volume, case.tensors["input.target"], step=config["iter"], order=order)
    named = {n.replace("fit", "cls").replace("dependence", "hsic"): t for n, t in terms.items()}
    logged = {k.removeprefix("loss_"): v for k, v in case.meta["log_vars"].items() if k != "loss"}
    assert named.keys() == logged.keys()
    for name, term in named.items():
        assert float(term.detach()) == pytest.approx(logged[name], abs=forward_grad[0]["atol"])
        stored = case.tensors[f"output.loss_{name}"]
        assert float(term.detach()) == pytest.approx(float(stored.mean()), abs=1e-5)
    total = torch.stack(list(named.values())).sum()
    case.assert_close(total, "output.total", **forward_grad[0])
    total.backward()
    gradients = {"feat": volume, **dict(head.named_parameters())}
    for name in case.group("grad."):
        grad = gradients[name].grad
        case.assert_close(torch.zeros_like(gradients[name]) if grad is None else grad,
                          f"grad.{name}", **forward_grad[1])  # fmt: skip


def check_hsic(case: Case) -> None:
    # `hsic_rebias_unbiased_buggy` is a mistake that no setting of the reference reaches.
    given = case.group("input.")
    x, tolerance = given["x"].clone().requires_grad_(), _tolerances(case)[0]
    value = hsic(x, given["xs"])
    case.assert_close(value, "output.hsic_biased", **tolerance)
    unbiased = hsic(x, given["xs"], unbiased=True)
    case.assert_close(unbiased, "output.hsic_unbiased", **tolerance)
    plain = hsic(x, given["xs"], unbiased=True, normalized=False)
    case.assert_close(plain, "output.hsic_unbiased_unnormalised", **tolerance)
    case.assert_close(-value, "output.loss_hsic", **tolerance)
    (-value).backward()
    assert x.grad is not None
    case.assert_close(x.grad, "grad.x", **tolerance)
    case.assert_close(F.cross_entropy(given["y"], given["label"]), "output.loss_f", **tolerance)
    case.assert_close(F.cross_entropy(given["ys"], given["label"]), "output.loss_g", **tolerance)
    cosines = F.cosine_similarity(given["x"], given["xs"])
    case.assert_close(cosines.abs().mean(), "output.loss_cos", **tolerance)


# Baselines


def check_bald(case: Case) -> None:
    shares = case.tensors["input.probs"].transpose(1, 2)
    tolerance = _tolerances(case)[0]
    case.assert_close(bald(shares), "output.bald", **tolerance)
    case.assert_close(entropy(shares.mean(dim=1)), "output.entropy", **tolerance)


def check_bayesian(case: Case) -> None:
    config, tensors = case.meta["config"], case.tensors
    layer = BayesianLinear(config["in_channels"], config["num_classes"])
    layer.load_state_dict(case.group("state.bnn_cls.bnn_layer."))
    forward, grad = _tolerances(case)
    features = tensors["input.feat"].flatten(2).mean(dim=2)
    noise = zip(tensors["input.eps_weight"], tensors["input.eps_bias"], strict=True)
    draws = [layer.at(Weights(weight, bias)) for weight, bias in noise]
    logits = [F.linear(features, *drawn) for drawn in draws]
    if config["testing"]:
        logits.append(layer(features))
    mean = torch.stack(logits).mean(dim=0)
    case.assert_close(mean, "output.pred_mean", **forward)
    told = config["prior"]
    prior, posterior = complexity(layer, draws, Prior(told["pi"], (told["sigma1"], told["sigma2"])))
    if not config["testing"]:
        case.assert_close(prior, "output.log_prior", **forward)
        case.assert_close(posterior, "output.log_posterior", **forward)
    within, between = variances(torch.stack(logits, dim=1).softmax(dim=2))
    case.assert_close(within, "output.aleatoric", **forward)
    case.assert_close(between, "output.epistemic", **forward)
    if config["testing"]:
        return
    fit = F.cross_entropy(mean, tensors["input.target"])
    cost = config["beta"] * (posterior - prior)
    case.assert_close(fit, "output.loss_cls", **forward)
    case.assert_close(cost, "output.loss_complexity", **forward)
    case.assert_close(fit + cost, "output.total", **forward)
    (fit + cost).backward()
    for name, parameter in layer.named_parameters():
        stored = f"grad.bnn_cls.bnn_layer.{name}"
        if stored in tensors:
            assert parameter.grad is not None
            case.assert_close(parameter.grad, stored, **grad)


def check_centers(case: Case) -> None:
    config, tensors = case.meta["config"], case.tensors
    reciprocal = config["loss"] == "RPLoss"
    forward, grad = _tolerances(case)
    volume = tensors["input.feat"].clone().requires_grad_()
    features, target = volume.flatten(2).mean(dim=2), tensors["input.target"]
    layer = CenterLinear(
        features.shape[1], config["num_classes"], num_centers=config["num_centers"],
        negated=not reciprocal,
    )  # fmt: skip
    layer.load_state_dict({"weight": tensors["state.fc_centers.weight"]})
    distance = layer(features)
    case.assert_close(features, "output.feature", **forward)
    case.assert_close(distance, "output.dist", **forward)
    squares = center_distance(features, layer.weight, config["num_centers"])
    case.assert_close(squares, "output.l2_dist", **forward)
    fit = F.cross_entropy(distance / config["temperature"], target)
    radius = None
    if reciprocal:
        radius = tensors["state.loss_cls.radius"].clone().requires_grad_()
        opened = config["weight_pl"] * radius_loss(features, radius)
    else:
        opened = config["weight_pl"] * layer.pull(features, target)
    case.assert_close(fit, "output.loss_cls", **forward)
    case.assert_close(opened, "output.loss_open", **forward)
    case.assert_close(fit + opened, "output.total", **forward)
    (fit + opened).backward()
    leaves = {"feat": volume, "fc_centers.weight": layer.weight, "loss_cls.radius": radius}
    for name in case.group("grad."):
        leaf = leaves[name]
        assert leaf is not None
        assert leaf.grad is not None
        case.assert_close(leaf.grad, f"grad.{name}", **grad)


def check_openmax(case: Case) -> None:
    config, stated, tensors = case.meta["config"], case.meta["tolerance"], case.tensors
    assert config["translate"] == 10_000
    features, labels = tensors["input.train_features"], tensors["input.train_labels"]
    found = OpenMax.fit(features, labels, config["classes"], tail=config["tailsize"])
    for number in range(config["classes"]):
        case.assert_close(found.centers[number], f"output.mav.{number}", rtol=1e-5, atol=1e-7)
        own = distances(features[labels == number], found.centers[number, None])[:, 0]
        ordered = own.sort().values, tensors[f"output.eucos.{number}"].sort().values
        torch.testing.assert_close(*ordered, rtol=1e-5, atol=1e-7)
    fitted, expected = found.weibull, tensors["output.weibull"]
    for column, tolerance in enumerate((1e-8, 1e-5, 1e-6)):
        torch.testing.assert_close(
            fitted[:, column], expected[:, column], rtol=tolerance, atol=tolerance
        )
    assert (expected[:, 3] == 1).all(), "a fit that fails is no number here, see OpenMax.unfitted"
    query, scores = tensors["input.query_features"], tensors["input.query_scores"]
    close = {"rtol": 0.0, "atol": stated["w_score"]}
    case.assert_close(found.oddness(query), "output.w_score", **close)
    for name in case.group("output.openmax_rank"):
        shares = found.probabilities(scores, query, rank=int(name))
        case.assert_close(shares, f"output.openmax_rank{name}", rtol=0.0, atol=stated["openmax"])


# Input


class _Drawn(np.random.RandomState):
    """Draws what a fixture says was drawn."""

    def __init__(self, value: int) -> None:
        super().__init__(0)
        self.value = value

    def randint(self, low: Any, high: Any = None, size: Any = None, dtype: Any = int) -> Any:
        assert low <= self.value < high
        return np.full(size, self.value)


def check_sampling(case: Case) -> None:
    config = case.meta["config"]
    span = config["clip_len"] * config["frame_interval"]
    assert config["sample_range"] == span
    protocol = Preprocessing(
        num_frames=config["clip_len"], sampling="loop", frame_stride=config["frame_interval"],
        num_clips=config["num_clips"],
    )  # fmt: skip
    dense = replace(protocol, num_clips=config["dense_test_positions"])
    train = SamplingConfig(rule="loop", frame_stride=config["frame_interval"])
    for count in case.tensors["input.total_frames"].tolist():
        start = int(case.tensors[f"input.dense_train_start.{count}"])
        drawn = train.for_clips(config["clip_len"]).indices(count, 25.0, _Drawn(start))
        for indices, name in (
            (protocol.sample(count), "test_centre"),
            (dense.sample(count), "dense_test"),
            (drawn, "dense_train"),
        ):
            expected = case.tensors[f"output.{name}.{count}"].numpy()
            np.testing.assert_array_equal(indices.reshape(expected.shape), expected)


def check_pipeline(case: Case) -> None:
    config = case.meta["config"]
    frames, crops = case.tensors["input.frames"], case.tensors["output.three_crop"]
    protocol = replace(
        PRESETS["open-set"],
        num_frames=len(frames),
        resize_size=config["short_side"],
        crop_size=config["crop"],
        num_crops=len(crops),
        mean=tuple(value / 255 for value in config["mean"]),
        std=tuple(value / 255 for value in config["std"]),
    )
    resized = resize_short_side(frames, config["short_side"], nearest=True)
    assert torch.equal(resized, case.tensors["output.resized"])
    middle = len(crops) // 2
    # theirs are the two ends and then the middle; a mean over the views does not mind
    order = [*(place for place in range(len(crops)) if place != middle), middle]
    ours = [protocol.resize(frames, crop_index=place) for place in order]
    assert torch.equal(torch.stack(ours), crops)
    final = torch.stack([protocol.normalize(each) for each in ours])
    case.assert_close(final, "output.final", rtol=1e-5, atol=1e-5)


# The evidential classifier


def check_classifier(case: Case) -> None:
    config, tensors = case.meta["config"], case.tensors
    forward, grad = _tolerances(case)
    assert config["qkv_bias"], "all released models have it"
    made = OpenSetClassifierConfig(
        num_classes=config["num_classes"],
        num_frames=config["frames"],
        image_size=config["img_size"],
        patch_size=config["patch"],
        tubelet_size=config["tubelet"],
        width=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        norm_eps=config["norm_eps"],
        evidence=config["evidence"],
        positions="direct",
    )
    model = OpenSetClassifier(made).eval()
    ours = OPEN_SET.tables["official"].to_ours(case.group("state."))
    model.load_state_dict(ours)
    clips = tensors["input.imgs"]
    features = model.pooled(clips.flatten(0, 1))
    logits = model.head(features)
    case.assert_close(features, "output.features", **forward)
    case.assert_close(logits, "output.logits_per_crop", **forward)
    views = logits.unflatten(0, clips.shape[:2])
    score = views.mean(dim=1)
    case.assert_close(score, "output.avg_score", **forward)
    case.assert_close(views.softmax(dim=2).mean(dim=1), "output.avg_prob", **forward)
    shares = Dirichlet.of_logits(views, config["evidence"]).probabilities.mean(dim=1)
    case.assert_close(shares, "output.avg_evidence", **forward)
    for row, own in enumerate(features.detach().unflatten(0, clips.shape[:2])):
        judged = model.judge(own)
        torch.testing.assert_close(
            torch.tensor(judged.uncertainty), tensors["output.uncertainty"][row], **forward
        )
        torch.testing.assert_close(judged.probabilities, tensors["output.prob"][row], **forward)
    loss = evidential_loss(
        model(clips[:, 0]),
        tensors["input.label"],
        EvidentialConfig(
            evidence=config["evidence"],
            rule=config["loss_type"].replace("_", "-"),
            divergence=config["with_kldiv"],
            calibration="product" if config["with_avuloss"] else "none",
            annealing=config["annealing"],
        ),
        epoch=config["epoch"],
        num_epochs=config["total_epoch"],
    )
    case.assert_close(loss.total, "output.train.loss", **forward)
    logged = case.meta["log_vars"]
    for value, name in (
        (loss.uncertainty.mean(), "uncertainty"),
        (loss.evidence_where(True), "evidence_succ"),
        (loss.evidence_where(False), "evidence_fail"),
    ):
        assert float(value) == pytest.approx(logged[name], rel=1e-4)
    loss.total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    theirs = OPEN_SET.tables["official"].to_official(gradients)
    for name in case.group("grad."):
        case.assert_close(theirs[name], f"grad.{name}", **grad)


ADAPTERS = {
    "metrics-openset": check_metrics,
    "metrics-openset-confidence": check_confidence_metrics,
    "openset-edl": check_evidential,
    "openset-debias": check_debias,
    "openset-hsic": check_hsic,
    "openset-bald": check_bald,
    "openset-bnn-train": check_bayesian,
    "openset-bnn-test": check_bayesian,
    "openset-rpl": check_centers,
    "openset-gcp": check_centers,
    "openset-openmax": check_openmax,
    "openset-sampling": check_sampling,
    "openset-pipeline": check_pipeline,
    "openset-vit-edl": check_classifier,
}
