"""Families `vln-depth`, `vln-nms`, `vln-policy` and `vln-rl`."""

from __future__ import annotations

import torch

from golden.case import Case
from internvideo.models.depth_resnet import DepthResNet, DepthResNetConfig
from internvideo.models.navigation import (
    NavigationPolicy,
    NavigationPolicyConfig,
    Observation,
    observe,
    view_angles,
)
from internvideo.models.waypoints import (
    NUM_VIEWS,
    WaypointPredictor,
    WaypointPredictorConfig,
    Waypoints,
    find_waypoints,
    neighbours,
    placed,
    sector_logits,
    suppress,
)
from internvideo.tasks.navigation.losses import Outcome, actor_critic_loss, imitation_loss, rewards


def check_depth(case: Case) -> None:
    config = case.meta["config"]
    model = DepthResNet(
        DepthResNetConfig(
            image_size=config["size"], width=config["baseplanes"], norm_groups=config["ngroups"]
        )
    ).eval()
    model.load_state_dict(case.group("state."))
    with torch.no_grad():
        case.assert_close(model(case.tensors["input.depth"] / 64), "output.features")


def check_suppression(case: Case) -> None:
    config, logits = case.meta["config"], case.tensors["input.logits"]
    options = {"most": config["max_predictions"], "sigma": tuple(config["sigma"])}
    heat = logits.flatten(1).softmax(1).view_as(logits)
    case.assert_close(heat, "output.probs")
    wrapped = torch.cat([heat[:, -1:], heat, heat[:, :1]], dim=1)
    peaks = suppress(wrapped, **options)
    case.assert_close(peaks, "output.nms_wrapped")
    case.assert_close(peaks[:, 1:-1], "output.nms")
    case.assert_close(suppress(wrapped, **options, gaussian=True), "output.nms_gaussian_wrapped")
    found = find_waypoints(logits, most=config["max_predictions"])
    for number, places in enumerate(found):
        pairs = torch.stack([places.angles, places.distances], dim=1)
        assert torch.equal(pairs, case.tensors[f"output.peaks.{number}"])
    mask = neighbours().long().view_as(case.tensors["output.attention_mask"])
    assert torch.equal(mask, case.tensors["output.attention_mask"])


def policy_of(case: Case) -> NavigationPolicy:
    meta = case.meta["config"]
    shape = meta["navcmt"]
    assert (shape["hidden_act"], shape["act_pred_token"]) == ("gelu", "ob_txt")
    for absent in ("num_r_layers", "num_h_layers", "no_lang_ca"):
        assert not shape[absent], absent
    assert shape["hist_enc_pano"]
    model = NavigationPolicy(
        NavigationPolicyConfig(
            vocab_size=shape["vocab_size"],
            max_positions=shape["max_position_embeddings"],
            width=shape["hidden_size"],
            num_heads=shape["num_attention_heads"],
            mlp_hidden=shape["intermediate_size"],
            language_depth=shape["num_l_layers"],
            panorama_depth=shape["num_h_pano_layers"],
            cross_depth=shape["num_x_layers"],
            max_steps=shape["max_action_steps"],
            video_width=meta["video_dim"],
            image_width=meta["clip_dim"],
            depth_width=shape["depth_feat_size"],
            view_order="mirrored",
        )
    ).eval()
    state = case.group("state.")
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith("waypoint")})
    return model


def predictor_of(case: Case) -> WaypointPredictor:
    shape = case.meta["config"]["waypoint"]
    depth = case.tensors["input.step0.depth_by_ccw_view"]
    model = WaypointPredictor(
        WaypointPredictorConfig(
            depth_features=depth[0, 0].numel(),
            width=shape["hidden"],
            depth=shape["layers"],
            num_heads=shape["heads"],
            mlp_hidden=shape["intermediate"],
        )
    ).eval()
    model.load_state_dict(case.group("state.waypoint_predictor."))
    return model


def check_policy(case: Case) -> None:
    meta, model, predictor = case.meta["config"], policy_of(case), predictor_of(case)
    text, mask = model.read(case.tensors["input.txt_ids"])
    case.assert_close(text, "output.txt_embeds")
    history = model.begin(meta["batch"])
    case.assert_close(model.begin(1)[0], "output.hist_cls")
    case.assert_close(view_angles(), "output.pano_angle_fts")
    loss = torch.zeros(())
    for step in range(meta["steps"]):
        given = case.group(f"input.step{step}.")
        prefix = f"output.step{step}."
        maps = given["depth_by_ccw_view"]
        clockwise = (-torch.arange(NUM_VIEWS)) % NUM_VIEWS
        heat = predictor(maps[:, clockwise])
        case.assert_close(heat, f"{prefix}heatmap_logits")
        seen = model.fuse(given["video_by_ccw_view"], given["clip_by_ccw_view"])
        case.assert_close(seen, f"{prefix}pano_rgb")
        case.assert_close(seen[:, clockwise].flatten(0, 1), f"{prefix}rgb_embedding_cw")
        depth = maps.mean(dim=(3, 4))
        case.assert_close(depth, f"{prefix}pano_depth")
        found = find_waypoints(heat)
        for number, places in enumerate(found):
            check_places(case, prefix, number, places, heat[number])
        now = observe(seen, depth, found)
        check_observation(case, prefix, now)
        logits, state = model.decide(text, mask, history, now)
        case.assert_close(logits, f"{prefix}logits")
        case.assert_close(state, f"{prefix}states")
        case.assert_close(model.text_attention(text, mask, history, now), f"{prefix}lang_attention")
        teacher = given["teacher_action"]
        loss = loss + imitation_loss(logits, teacher)
        if f"{prefix}hist_embed" in case.tensors:
            chosen = now.direction[torch.arange(len(teacher)), teacher]
            token = model.remember(seen, chosen, step)
            case.assert_close(token, f"{prefix}hist_embed")
            history = torch.cat([history, token[:, None]], dim=1)
    loss = loss / (meta["batch"] * meta["steps"])
    case.assert_close(loss, "output.il_loss")
    loss.backward()
    for name in case.group("grad."):
        case.assert_close(model.get_parameter(name).grad, f"grad.{name}")


def check_places(case: Case, prefix: str, number: int, places: Waypoints, heat) -> None:
    case.assert_close(places.turns, f"{prefix}cand_angles_ccw.{number}")
    case.assert_close(places.metres, f"{prefix}cand_distances.{number}")
    assert torch.equal(places.views, case.tensors[f"{prefix}cand_img_idxes.{number}"])
    case.assert_close(places.angle_features, f"{prefix}cand_angle_fts.{number}")
    case.assert_close(places.distance_features, f"{prefix}cand_dis_fts.{number}")
    odds = sector_logits(heat, places.sectors).softmax(dim=1)
    case.assert_close(odds, f"{prefix}aug_probs.{number}")
    likeliest = placed(places.sectors, odds.argmax(dim=1))
    case.assert_close(likeliest.metres, f"{prefix}aug_argmax_distances.{number}")
    turns = case.tensors[f"{prefix}aug_argmax_angles_ccw.{number}"]
    other = places.sectors != 0  # the reference turns five angles too far in the view ahead
    torch.testing.assert_close(likeliest.turns[other], turns[other], **case.tolerance())


def check_observation(case: Case, prefix: str, now: Observation) -> None:
    case.assert_close(now.seen, f"{prefix}ob_rgb")
    case.assert_close(now.depth, f"{prefix}ob_dep")
    case.assert_close(now.direction, f"{prefix}ob_ang")
    case.assert_close(now.distance, f"{prefix}ob_dis")
    assert torch.equal(now.kinds, case.tensors[f"{prefix}ob_nav_types"])
    assert torch.equal(now.lengths, case.tensors[f"{prefix}ob_lens"])
    assert torch.equal((now.kinds == 1).sum(1) + 1, case.tensors[f"{prefix}ob_cand_lens"])


def check_rewards(case: Case) -> None:
    config = case.meta["config"]
    distance = case.tensors["input.dist0"].clone()
    fidelity = case.tensors["input.ndtw0"].clone()
    steps = []
    for number in range(config["steps"]):
        given = case.group(f"input.{number}.")
        agents = given["alive"]
        got = rewards(
            given["dist"], given["ndtw"], distance[agents], fidelity[agents], given["stop"].bool()
        )
        case.assert_close(got, f"output.{number}.reward")
        distance[agents], fidelity[agents] = given["dist"], given["ndtw"]
        steps.append(Outcome(agents, given["log_prob"], given["entropy"], given["value"], got))
    loss = actor_critic_loss(steps, discount=config["gamma"], entropy_weight=config["entropy_coef"])
    case.assert_close(loss, "output.rl_loss")


ADAPTERS = {
    "vln-depth": check_depth,
    "vln-nms": check_suppression,
    "vln-policy": check_policy,
    "vln-rl": check_rewards,
}
