"""from_prediction: objects with the fields of each library, which are not installed."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from box_rooms import box_room
from PIL import Image

import train3d_jax
from data.user_maps.camera_files.camera import ESTIMATED_SIGMA
from data.user_maps.producers import PRODUCERS
from train3d_jax import UserError, from_prediction, load_model, predictions
from train3d_jax.inference.arrays import numbers
from train3d_jax.inference.depth_networks import network_of
from train3d_jax.inference.prediction_forms import predictions_of

DEPTH, CAMERA = box_room(0)
HEIGHT, WIDTH = DEPTH.shape
FOCAL = CAMERA[0, 0]
GEOMETRY = {space: load_model(None, space=space) for space in ("depth", "disparity", "log")}


class Tensor:
    """As PyTorch's on a GPU that records gradients, of any type."""

    def __init__(self, values, dtype="float32", gradient=True, place="cuda"):
        self.values, self.dtype = np.asarray(values, np.float32), f"torch.{dtype}"
        self._gradient, self._place = gradient, place

    @property
    def shape(self):
        return self.values.shape

    def _like(self, **changes):
        kept = {"dtype": self.dtype[6:], "gradient": self._gradient, "place": self._place}
        return Tensor(self.values, **kept | changes)

    def detach(self):
        return self._like(gradient=False)

    def cpu(self):
        return self._like(place="cpu")

    def float(self):
        return self._like(dtype="float32")

    def __array__(self, dtype=None, copy=None):
        if self._gradient or self._place != "cpu":
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if self.dtype == "torch.bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return np.array(self.values, dtype)


class Output(dict):
    """As those of diffusers and transformers: fields by name, as keys and as attributes."""

    def __init__(self, **fields):
        super().__init__({name: each for name, each in fields.items() if each is not None})
        self.__dict__.update(fields)


class MarigoldDepthOutput(Output):
    pass


class MarigoldNormalsOutput(Output):
    pass


class MarigoldIntrinsicsOutput(Output):
    pass


class DepthProDepthEstimatorOutput(Output):
    pass


@dataclasses.dataclass
class Prediction:
    """Depth Anything 3's."""

    depth: np.ndarray
    is_metric: Any
    sky: np.ndarray | None = None
    conf: np.ndarray | None = None
    extrinsics: np.ndarray | None = None
    intrinsics: np.ndarray | None = None
    processed_images: np.ndarray | None = None


def bytes_of(values):
    return Image.fromarray(np.uint8(255 * (values - values.min()) / np.ptp(values)))


def piped(values, dtype="float32"):
    """What transformers' pipeline returns for one picture."""
    return {"predicted_depth": Tensor(values, dtype), "depth": bytes_of(values)}


def depth_pro(values=DEPTH):
    """What post_process_depth_estimation makes of Depth Pro's output."""
    fov = np.degrees(2 * np.arctan(WIDTH / 2 / FOCAL))
    return {"predicted_depth": Tensor(values), "field_of_view": Tensor(fov),
            "focal_length": Tensor(FOCAL)}  # fmt: skip


NORMALISED = np.array([[FOCAL / WIDTH, 0, 0.5], [0, FOCAL / HEIGHT, 0.5], [0, 0, 1]])
METRES = {"shift_known": True, "intrinsics": CAMERA, "focal_sigma": 0.05}
RELATIVE = {"intrinsics": CAMERA, "focal_sigma": 0.05}
AFFINE = (DEPTH - DEPTH.min()) / np.ptp(DEPTH)  # from 0 to 1
SKY = np.quantile(DEPTH, 0.95) < DEPTH
DISPARITY = 1 / DEPTH
NAMED = {"model_name": "depth-anything/Depth-Anything-V2-Small-hf"}

# A prediction, further arguments, and by which call of `recover`, in which space, it is answered.
CASES = {
    "pipeline, relative": (piped(DISPARITY), NAMED, "disparity", DISPARITY, {}),
    "pipeline, one axis more": (
        {"predicted_depth": Tensor(DISPARITY[None]), "depth": bytes_of(DISPARITY)},
        {"space": "disparity"}, "disparity", DISPARITY, {},
    ),
    "pipeline, metric": (
        piped(DEPTH), {"model_name": "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf"},
        "depth", DEPTH, {"shift_known": True},
    ),
    "Depth Pro of transformers": (depth_pro(), {}, "depth", DEPTH, METRES),
    "Depth Pro": (
        {"depth": Tensor(DEPTH), "focallength_px": Tensor(FOCAL)}, {}, "depth", DEPTH, METRES
    ),
    "Marigold": (
        MarigoldDepthOutput(prediction=AFFINE[None, ..., None], uncertainty=None, latent=None),
        {}, "depth", np.where(AFFINE == 0, 1e-6, AFFINE), {},
    ),
    "Marigold, tensors": (
        MarigoldDepthOutput(prediction=Tensor(AFFINE[None, None]), uncertainty=Tensor([0])),
        {}, "depth", np.where(AFFINE == 0, 1e-6, AFFINE), {},
    ),
    "Depth Anything 3": (
        Prediction(DEPTH[None], 0, intrinsics=CAMERA[None], sky=SKY[None]),
        {}, "depth", np.where(SKY, 0, DEPTH), RELATIVE,
    ),
    "Depth Anything 3, nested": (
        Prediction(DEPTH[None], 1, intrinsics=CAMERA[None]), {}, "depth", DEPTH, METRES
    ),
    "Depth Anything 3, mono": (Prediction(DEPTH[None], {}), {}, "depth", DEPTH, {}),
    "MoGe": (
        {"depth": Tensor(np.where(SKY, np.inf, DEPTH)), "mask": Tensor(~SKY),
         "points": None, "intrinsics": Tensor(NORMALISED)},
        {}, "depth", np.where(SKY, 0, DEPTH), RELATIVE,
    ),
    "UniDepth": (
        {"depth": Tensor(DEPTH[None, None]), "intrinsics": Tensor(CAMERA[None]), "radius": None},
        {}, "depth", DEPTH, METRES,
    ),
    "log depth": (
        piped(np.log(DEPTH) + 3), {"model_name": "Pixel-Perfect-Depth"}, "log",
        np.log(DEPTH) + 3, {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_prediction_has_the_answer_of_recover(name):
    prediction, arguments, space, values, known = CASES[name]
    found = from_prediction(prediction, model=None, **arguments)
    expected = GEOMETRY[space].recover(np.float32(values), **known)
    assert found.focal_px.shape == () and found.depth.shape == DEPTH.shape
    # Cameras come as float32, and those that are normalised are multiplied out.
    np.testing.assert_allclose(found.focal_px, expected.focal_px, rtol=1e-5)
    np.testing.assert_allclose(found.focal_interval_px, expected.focal_interval_px, rtol=1e-5)
    np.testing.assert_allclose(found.intrinsics, expected.intrinsics, rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(found.mask, expected.mask)
    if known.get("shift_known"):
        assert found.a == 1 and found.b == 0
        np.testing.assert_allclose(found.depth[found.mask], values[found.mask], rtol=1e-6)
    else:
        np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-5)


def test_the_nearest_depth_of_marigold_is_no_hole():
    found = from_prediction(CASES["Marigold"][0], model=None)
    assert (AFFINE == 0).any() and found.mask.all()


def test_several_pictures_have_an_axis():
    several = [piped(DISPARITY), piped(DISPARITY[:80])]
    found = from_prediction(several, space="disparity", model=None)
    assert found.focal_px.shape == (2,) and [len(each) for each in found.depth] == [96, 80]
    one = from_prediction([piped(DISPARITY)], space="disparity", model=None)
    assert one.focal_px.shape == (1,)
    both = Prediction(np.stack([DEPTH, 2 * DEPTH]), 1, intrinsics=np.stack([CAMERA] * 2))
    found = from_prediction(both, model=None)
    np.testing.assert_allclose(found.depth, both.depth, rtol=1e-6)
    np.testing.assert_array_equal(found.a, [1, 1])


def test_what_the_caller_knows_comes_before_what_the_network_says():
    given = from_prediction(depth_pro(), model=None, focal_px=1.1 * FOCAL)
    assert given.focal_px == pytest.approx(1.1 * FOCAL) and not np.ptp(given.focal_interval_px)
    exact = from_prediction(depth_pro(), model=None, focal_sigma=0)
    assert exact.focal_px == pytest.approx(FOCAL) and not np.ptp(exact.focal_interval_px)
    estimated = from_prediction(depth_pro(0.1 * DEPTH + 0.3), model=None, shift_known=False)
    ratio = estimated.depth / DEPTH
    assert np.ptp(ratio) < 0.03 * ratio.mean() and estimated.b != 0
    assert predictions.CAMERA_SIGMA == ESTIMATED_SIGMA


def test_the_picture_and_the_mask_are_those_of_recover(monkeypatch):
    asked = {}
    monkeypatch.setattr(
        predictions, "recover", lambda *given, **more: asked.update(more, given=given)
    )
    mask = np.ones(DEPTH.shape, bool)
    image = Image.new("RGB", (WIDTH, HEIGHT))
    from_prediction(piped(DISPARITY), image, **NAMED, mask=mask, lines=False, clip=None)
    assert asked["rgb"] is image and asked["lines"] is False and asked["given"][2] is mask
    assert asked["given"][1] == "default" and asked["space"] == "disparity"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_tensors_of_any_type_are_read(dtype):
    found = predictions_of(piped(DISPARITY, dtype)).maps[0]
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, np.float32(DISPARITY))
    np.testing.assert_array_equal(numbers(Tensor([1.5], dtype), "depth"), [1.5])
    values = (
        predictions_of({"predicted_depth": jnp.asarray(DISPARITY, jnp.bfloat16)}).maps[0].values
    )
    np.testing.assert_allclose(values, DISPARITY, rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "space", "metric"),
    [
        ("Intel/dpt-large", "disparity", False),
        ("Intel/dpt-hybrid-midas", "disparity", False),
        ("LiheYoung/depth-anything-base-hf", "disparity", False),
        ("depth-anything/Depth-Anything-V2-Large-hf", "disparity", False),
        ("depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf", "depth", True),
        ("depth-anything/prompt-depth-anything-vits-hf", "depth", True),
        ("depth-anything/DA3MONO-LARGE", "depth", False),
        ("facebook/dpt-dinov2-small-nyu", "depth", True),
        ("vinvino02/glpn-kitti", "depth", True),
        ("Intel/zoedepth-nyu-kitti", "depth", True),
        ("apple/DepthPro-hf", "depth", True),
        ("prs-eth/marigold-depth-v1-1", "depth", False),
        ("jingheya/lotus-depth-g-v2-1-disparity", "disparity", False),
    ],
)
def test_a_network_is_known_by_its_name(name, space, metric):
    assert network_of(name) == (space, metric)


def test_names_mean_what_the_programs_take_them_for():
    networks = (
        "marigold", "depth-anything-v2", "depth-anything-3", "video-depth-anything",
        "depthcrafter", "depth-pro", "moge", "metric3d", "zoedepth", "midas",
        "pixel-perfect-depth",
    )  # fmt: skip
    for name in networks:
        producer = PRODUCERS[name]
        assert network_of(name) == (producer.space, producer.shift_known), name
        assert network_of(producer.name) == network_of(name)


NOT_SQUARE = {"predicted_depth": Tensor(np.ones((1, 96, 96))), "depth": Image.new("L", (128, 96))}
RAW = DepthProDepthEstimatorOutput(predicted_depth=Tensor(DEPTH[None]), field_of_view=Tensor(60))
NORMALS = MarigoldNormalsOutput(prediction=np.ones((1, 9, 9, 3)))
ALBEDO = MarigoldIntrinsicsOutput(prediction=Tensor(np.ones((2, 3, 9, 9))))
PLAIN = {"predicted_depth": Tensor(DEPTH), "field_of_view": Tensor(60), "focal_length": None}


@pytest.mark.parametrize(
    ("prediction", "arguments", "message"),
    [
        (piped(DEPTH), {}, "model_name: is needed, because the prediction does not tell whether"),
        (piped(DEPTH), {"model_name": "me/mine"}, "model_name='me/mine': is no network whose"),
        (piped(DEPTH), {"model_name": 3}, "model_name=3: give the name"),
        (piped(DEPTH), {"space": "inverse"}, "space='inverse'"),
        ({"depth": bytes_of(DEPTH)}, {"space": "depth"}, "an image of 8 bits only"),
        (NOT_SQUARE, NAMED, "predicted_depth of 96 x 96 pixels for a picture of 128 x 96"),
        (RAW, {}, "is the raw output of a network; give what image_processor.post_process"),
        (PLAIN, {}, "is the raw output of a network"),
        (NORMALS, {}, "is MarigoldNormalsOutput, which holds normals and no depth"),
        (ALBEDO, {}, "is MarigoldIntrinsicsOutput, which holds intrinsics and no depth"),
        (DEPTH, {}, "prediction: is an array; give it to recover"),
        ([], {}, "prediction: holds none"),
        ("map.npy", {}, "prediction: is 'str', without fields of"),
        (None, {}, "prediction: is 'NoneType', without"),
        ([piped(DEPTH), depth_pro()], {"model_name": "me"}, "model_name='me'"),
        ([depth_pro(), Prediction(DEPTH[None], 0)], {}, "is of several kinds of networks"),
        (Prediction(DEPTH[None], 0, intrinsics=np.eye(2)), {}, r"has intrinsics of the shape"),
        (Prediction(DEPTH[None], 0, sky=SKY[None, :9]), {}, "has a sky of another shape"),
        (Prediction(DEPTH[None, ..., None] + np.zeros(2), 0), {}, r"has depth of the shape"),
        ({"predicted_depth": Tensor(np.ones((2, 9, 9)))}, NAMED, "has predicted_depth of the"),
        (MarigoldDepthOutput(prediction="a"), {}, "prediction: holds"),
        (depth_pro(), {"image": "room.jpg"}, "image: is a path; give pixels"),
        (depth_pro(), {"image": [DEPTH] * 2}, "image: holds 2 pictures for 1 maps"),
        (depth_pro(), {"focal_px": -1}, "focal_px=-1: give pixels above 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_with_the_way_out(prediction, arguments, message):
    with pytest.raises(UserError, match=message) as raised:
        from_prediction(prediction, model=None, **arguments)
    assert "\n" not in str(raised.value)


def test_it_is_a_name_of_the_package():
    assert train3d_jax.from_prediction is from_prediction
