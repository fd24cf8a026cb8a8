"""Pictures of meter digits, drawn from a seed: what ``make_demo`` trains, calibrates and evaluates on.

Three families, as they hang in cellars: number wheels (of which many stand between two digits),
liquid crystal displays and light emitting displays. Each picture is a 32 x 32 crop around one digit,
seen through a cheap camera. Glyphs are drawn here or come from the font inside Pillow, so nothing
depends on the fonts of a machine. Sample ``i`` of a seed is the same whatever is rendered beside it.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

__all__ = ["SIZE_PX", "render", "render_set"]

Array = np.ndarray[Any, np.dtype[Any]]
Points = list[tuple[float, float]]
Rng = np.random.Generator

SIZE_PX = 32
_CROP = 2 * SIZE_PX  # everything before the sensor happens at twice its resolution
_SCENE = 96  # the crop with room around it, for what perspective and shifts bring in
_GLYPH_W, _GLYPH_H = 80, 128  # of the drawn glyphs; every use makes them smaller
_INSET = 16

_SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
_SEGMENTS_SHORT = {6: "fgedc", 7: "fabc", 9: "abcfg"}  # makers disagree on the tails of these three

# (wheel, digit) colours in RGB, with the weight of each.
_WHEELS = (
    ((22, 22, 24), (236, 234, 226), 5),
    ((232, 230, 222), (24, 24, 28), 4),
    ((176, 26, 28), (240, 232, 226), 2),
    ((228, 224, 214), (178, 30, 34), 2),
    ((58, 66, 78), (226, 228, 222), 1),
)
_BEZELS = ((18, 18, 20), (60, 62, 66), (138, 140, 142), (196, 196, 192), (126, 104, 66))
_LCDS = (((158, 170, 142), (34, 40, 38)), ((176, 180, 178), (38, 40, 46)), ((204, 168, 84), (52, 38, 22)), ((120, 158, 196), (18, 28, 60)))
_LEDS = (((255, 52, 38), (38, 6, 6)), ((70, 255, 110), (6, 28, 12)), ((255, 176, 40), (34, 20, 6)), ((196, 226, 255), (14, 18, 26)))


def _arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> Points:
    """Points on an ellipse, degrees clockwise from three o'clock."""
    steps = [math.radians(start + (end - start) * i / 24) for i in range(25)]
    return [(cx + rx * math.cos(t), cy + ry * math.sin(t)) for t in steps]


def _strokes(digit: int, alternate: bool) -> list[Points]:
    """The pen strokes of a digit in a box 1 wide and 1.6 high; ``alternate`` picks the other form of 1, 3, 4 and 7."""
    six: list[Points] = [_arc(1.0, 1.1, 1.0, 1.1, 255, 180) + _arc(0.5, 1.1, 0.5, 0.5, 180, -180)]
    three_low = _arc(0.5, 1.13, 0.5, 0.47, 270, 520)
    table: tuple[list[Points], ...] = (
        [[*_arc(0.5, 0.5, 0.48, 0.5, 180, 360), *_arc(0.5, 1.1, 0.48, 0.5, 0, 180), (0.02, 0.5)]],
        [[(0.2, 0.36), (0.6, 0.0), (0.6, 1.6)]],
        [[*_arc(0.5, 0.48, 0.47, 0.48, 190, 395), (0.02, 1.6), (1.0, 1.6)]],
        [_arc(0.5, 0.4, 0.43, 0.4, 195, 440) + _arc(0.5, 1.18, 0.5, 0.42, 280, 520)],
        [[(0.74, 1.6), (0.74, 0.0), (0.0, 1.16), (1.0, 1.16)]],
        [[(0.92, 0.0), (0.16, 0.0), (0.08, 0.76), *_arc(0.48, 1.08, 0.52, 0.52, 222, 510)]],
        six,
        [[(0.0, 0.0), (1.0, 0.0), (0.36, 1.6)]],
        [_arc(0.5, 0.39, 0.42, 0.39, 90, 450), _arc(0.5, 1.19, 0.5, 0.41, 270, 630)],
        [[(1 - x, 1.6 - y) for x, y in stroke] for stroke in six],
    )
    other: dict[int, list[Points]] = {
        1: [[(0.2, 0.36), (0.55, 0.0), (0.55, 1.6)], [(0.2, 1.6), (0.9, 1.6)]],
        3: [[(0.06, 0.0), (0.94, 0.0), (0.44, 0.66), *three_low]],
        4: [[(0.36, 0.0), (0.0, 1.14), (1.0, 1.14)], [(0.72, 0.7), (0.72, 1.6)]],
        7: [[(0.0, 0.16), (0.0, 0.0), (1.0, 0.0), *_arc(1.3, 1.6, 0.94, 1.3, 225, 180)]],
    }
    return other.get(digit, table[digit]) if alternate else table[digit]


@cache
def _pen(digit: int, width: int, alternate: bool) -> Image.Image:
    """A digit drawn with a round pen ``width`` pixels wide, white on black."""
    scale = 3
    image = Image.new("L", (_GLYPH_W * scale, _GLYPH_H * scale))
    draw = ImageDraw.Draw(image)
    margin, radius = _INSET * scale, width * scale / 2
    unit_x, unit_y = image.width - 2 * margin, (image.height - 2 * margin) / 1.6
    for stroke in _strokes(digit, alternate):
        points = [(margin + x * unit_x, margin + y * unit_y) for x, y in stroke]
        draw.line(points, fill=255, width=round(2 * radius))
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return image.resize((_GLYPH_W, _GLYPH_H), Image.Resampling.BOX)


@cache
def _type(digit: int, bold: int) -> Image.Image:
    """A digit of the font inside Pillow, its outline grown by ``bold`` pixels, in the same box as the others."""
    font = ImageFont.load_default(128)
    image = Image.new("L", (_GLYPH_W, _GLYPH_H))
    ImageDraw.Draw(image).text((_GLYPH_W / 2, _GLYPH_H / 2 + 46), str(digit), fill=255, font=font, anchor="ms", stroke_width=bold)
    return image


@cache
def _seven(lit: str, thickness: int, slant: float) -> Image.Image:
    """Seven-segment strokes with bevelled ends; ``slant`` is the lean, sideways over upwards."""
    scale, t = 3, float(thickness)
    left, right, top, low = t / 2 + 10, _GLYPH_W - t / 2 - 10, t / 2 + 6, _GLYPH_H - t / 2 - 6
    mid, gap = (top + low) / 2, 1.6

    def bar(x0: float, y0: float, x1: float, y1: float) -> Points:
        dx, dy = (1.0, 0.0) if y0 == y1 else (0.0, 1.0)
        x0, y0, x1, y1 = x0 + gap * dx, y0 + gap * dy, x1 - gap * dx, y1 - gap * dy
        h = t / 2
        return [
            (x0, y0), (x0 + h * (dx + dy), y0 + h * (dy - dx)), (x1 - h * (dx - dy), y1 - h * (dy + dx)),
            (x1, y1), (x1 - h * (dx + dy), y1 - h * (dy - dx)), (x0 + h * (dx - dy), y0 + h * (dy + dx)),
        ]  # fmt: skip

    bars = {
        "a": bar(left, top, right, top), "b": bar(right, top, right, mid), "c": bar(right, mid, right, low),
        "d": bar(left, low, right, low), "e": bar(left, mid, left, low), "f": bar(left, top, left, mid),
        "g": bar(left, mid, right, mid),
    }  # fmt: skip
    image = Image.new("L", (_GLYPH_W * scale, _GLYPH_H * scale))
    draw = ImageDraw.Draw(image)
    for name in lit:
        draw.polygon([((x + slant * (mid - y)) * scale, y * scale) for x, y in bars[name]], fill=255)
    return image.resize((_GLYPH_W, _GLYPH_H), Image.Resampling.BOX)


def _tint(rng: Rng, colour: tuple[int, int, int], spread: float = 10.0) -> Array:
    """The colour as another unit of the same make has it, RGB in 0..1."""
    return np.clip((np.array(colour) + rng.normal(0, spread, 3) * 0.5 + rng.normal(0, spread)) / 255, 0, 1).astype(np.float32)


def _paint(scene: Array, mask: Array, colour: Array) -> None:
    scene += mask[..., None] * (colour - scene)


def _wheels(rng: Rng) -> tuple[Array, int]:
    """A number wheel between two others behind a window. The label is the digit nearer to the middle."""
    digit = int(rng.integers(10))
    # Most wheels rest near a digit; the rest are caught on their way, up to where nobody can tell.
    roll = rng.uniform(-0.43, 0.43) if rng.random() < 0.4 else rng.normal(0, 0.04)
    pitch = rng.uniform(44, 54)
    width, gap = int(rng.integers(38, 46)), int(rng.integers(3, 8))
    glyph_h = pitch * rng.uniform(0.72, 0.9) * _GLYPH_H / (_GLYPH_H - 2 * _INSET)
    glyph_w = glyph_h * _GLYPH_W / _GLYPH_H * rng.uniform(0.85, 1.15)
    box = (max(8, round(glyph_w)), max(8, round(glyph_h)))
    pen, bold, alternate = int(rng.integers(12, 21)), int(rng.integers(0, 4)), bool(rng.random() < 0.5)
    glyph: Callable[[int], Image.Image] = (lambda d: _pen(d, pen, alternate)) if rng.random() < 0.6 else (lambda d: _type(d, bold))

    weights = np.array([w for *_, w in _WHEELS], float)
    face, ink, _ = _WHEELS[int(rng.choice(len(_WHEELS), p=weights / weights.sum()))]
    face_rgb, ink_rgb, bezel = _tint(rng, face), _tint(rng, ink), _tint(rng, _BEZELS[int(rng.integers(len(_BEZELS)))])
    scene = np.empty((_SCENE, _SCENE, 3), np.float32)
    scene[:] = face_rgb * 0.25
    y = np.arange(_SCENE) - (_SCENE - 1) / 2
    radius = pitch * 10 / (2 * math.pi)  # ten digits around the rim
    along = radius * np.arcsin(np.clip(y / radius, -1, 1))  # a screen row's place on the rim
    shade = 1 - rng.uniform(0.1, 0.75) * (y / (_SCENE / 2)) ** 2
    strip_h = math.ceil(pitch * 5)
    for slot in (-1, 0, 1):
        shown = digit if slot == 0 else int(rng.integers(10))
        turn = roll if slot == 0 else float(rng.normal(0, 0.05))
        strip = Image.new("L", (width, strip_h))
        for step in (-1, 0, 1):
            centre = strip_h / 2 + step * pitch
            mask = glyph((shown + step) % 10).resize(box, Image.Resampling.BILINEAR)
            strip.paste(mask, (round((width - box[0]) / 2), round(centre - box[1] / 2)), mask)
        rows = np.clip(strip_h / 2 + along + turn * pitch, 0, strip_h - 2)
        base = rows.astype(int)
        part = (rows - base)[:, None].astype(np.float32)
        ink_mask = np.asarray(strip, np.float32) / 255
        wheel = np.empty((_SCENE, width, 3), np.float32)
        wheel[:] = face_rgb
        _paint(wheel, ink_mask[base] * (1 - part) + ink_mask[base + 1] * part, ink_rgb)
        x0 = (_SCENE - width) // 2 + slot * (width + gap)
        lo, hi = max(0, x0), min(_SCENE, x0 + width)
        scene[:, lo:hi] = wheel[:, lo - x0 : hi - x0]
    scene *= shade[:, None, None].astype(np.float32)
    half = pitch * rng.uniform(0.56, 0.7)
    scene *= (1 - rng.uniform(0, 0.6) * np.exp(-np.maximum(y + half, 0) / 5))[:, None, None].astype(np.float32)  # the bezel's shadow
    scene[np.abs(y) > half] = bezel
    return scene, digit


def _display(rng: Rng) -> tuple[Array, int]:
    """A seven-segment digit between two others, on liquid crystal or light emitting segments."""
    digit, emits = int(rng.integers(10)), bool(rng.random() < 0.3)
    short, slant, thickness = bool(rng.random() < 0.4), float(rng.choice([0.0, 0.08, 0.16])), int(rng.choice([12, 15, 18, 21]))
    height = int(rng.integers(40, 57))
    box = (round(height * rng.uniform(0.52, 0.68)), height)
    spacing = round(box[0] * rng.uniform(1.1, 1.35))
    on, off = Image.new("L", (_SCENE, _SCENE)), Image.new("L", (_SCENE, _SCENE))
    for slot in (-1, 0, 1):
        shown = digit if slot == 0 else int(rng.integers(10))
        lit = _SEGMENTS_SHORT.get(shown, _SEGMENTS[shown]) if short else _SEGMENTS[shown]
        place = (round((_SCENE - box[0]) / 2) + slot * spacing, round((_SCENE - box[1]) / 2))
        on.paste(_seven(lit, thickness, slant).resize(box, Image.Resampling.BILINEAR), place)
        off.paste(_seven("abcdefg", thickness, slant).resize(box, Image.Resampling.BILINEAR), place)
    lit_mask, all_mask = np.asarray(on, np.float32) / 255, np.asarray(off, np.float32) / 255
    scene = np.empty((_SCENE, _SCENE, 3), np.float32)
    if emits:
        colour, back = _LEDS[int(rng.integers(len(_LEDS)))]
        light = _tint(rng, colour) * rng.uniform(0.55, 1.0)
        scene[:] = _tint(rng, back, 4)
        scene += all_mask[..., None] * light * rng.uniform(0.02, 0.2)
        glow = np.asarray(on.filter(ImageFilter.GaussianBlur(rng.uniform(3, 7))), np.float32) / 255
        scene += (lit_mask * rng.uniform(0.7, 1.1) + glow * rng.uniform(0.1, 0.6))[..., None] * light
    else:
        back, dark = _LCDS[int(rng.integers(len(_LCDS)))]
        paper, ink = _tint(rng, back, 14), _tint(rng, dark)
        scene[:] = paper
        shadow = np.roll(lit_mask, (int(rng.integers(0, 4)), int(rng.integers(0, 4))), (0, 1))
        _paint(scene, shadow * rng.uniform(0, 0.25), ink)
        _paint(scene, all_mask * rng.uniform(0, 0.2), ink)
        _paint(scene, lit_mask * rng.uniform(0.35, 0.95), ink)
    return scene, digit


def _view(rng: Rng, scene: Array) -> Array:
    """The scene as the lens sees it: perspective, then blur or shake. [96, 96, 3] in 0..1 to [64, 64, 3]."""
    inset = (_SCENE - _CROP) / 2
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float) * _CROP
    angle = math.radians(rng.normal(0, 3))
    turn = np.array([(math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle))])
    seen = (corners - _CROP / 2) * rng.uniform(0.9, 1.12) @ turn.T + _SCENE / 2
    seen += rng.normal(0, (3.0, 1.3), 2) + rng.normal(0, 1.6, (4, 2))
    seen = np.clip(seen, -inset, _SCENE + inset)
    # The eight coefficients of the map from crop to scene (Pillow's PERSPECTIVE transform).
    rows = [[x, y, 1, 0, 0, 0, -u * x, -u * y] for (x, y), (u, _) in zip(corners, seen, strict=True)]
    rows += [[0, 0, 0, x, y, 1, -v * x, -v * y] for (x, y), (_, v) in zip(corners, seen, strict=True)]
    coefficients = np.linalg.solve(np.array(rows), np.concatenate([seen[:, 0], seen[:, 1]]))
    padded = Image.fromarray(np.round(np.clip(scene, 0, 1) * 255).astype(np.uint8))
    image = padded.transform((_CROP, _CROP), Image.Transform.PERSPECTIVE, tuple(coefficients), Image.Resampling.BILINEAR)
    image = image.filter(ImageFilter.GaussianBlur(rng.gamma(2.0, 0.45)))
    pixels = np.asarray(image, np.float32) / 255
    if rng.random() < 0.15:
        length, axis = int(rng.integers(3, 8)), int(rng.integers(2))
        pixels = np.mean([np.roll(pixels, i - length // 2, axis) for i in range(length)], axis=0)
    return pixels


def _light(rng: Rng, pixels: Array) -> Array:
    """Uneven light and reflections on the glass."""
    v, u = np.mgrid[-1 : 1 : _CROP * 1j, -1 : 1 : _CROP * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    ramp = u * math.cos(angle) + v * math.sin(angle)
    pixels = pixels * (1 + rng.uniform(0, 0.45) * ramp)[..., None]
    if rng.random() < 0.3:
        if rng.random() < 0.5:  # a lamp
            x, y = rng.uniform(-1, 1, 2)
            shape = np.exp(-(((u - x) / rng.uniform(0.15, 0.6)) ** 2 + ((v - y) / rng.uniform(0.15, 0.6)) ** 2))
        else:  # a window
            shape = 1 / (1 + np.exp((np.abs(ramp - rng.uniform(-1, 1)) - rng.uniform(0.05, 0.3)) * 18))
        pixels = pixels + rng.uniform(0.15, 0.8) * shape[..., None] * np.array([1.0, 1.0, 0.95], np.float32)
    return np.asarray(pixels, np.float32)


def _camera(rng: Rng, pixels: Array) -> Array:
    """Exposure, noise, JPEG and a sensor of five bits a channel, like the small camera modules readers use."""
    pixels = pixels.reshape(SIZE_PX, 2, SIZE_PX, 2, 3).mean((1, 3))
    if rng.random() < 0.25:  # infrared at night: no colour
        pixels = np.repeat(pixels @ np.array([[0.299], [0.587], [0.114]]), 3, axis=2)
    else:
        pixels = pixels * rng.normal(1, 0.05, 3)
    pixels = np.clip(pixels * rng.uniform(0.6, 1.15) + rng.uniform(-0.02, 0.1), 0, 1) ** rng.uniform(0.75, 1.35)
    pixels = pixels + rng.normal(0, rng.gamma(1.5, 0.013), (SIZE_PX, SIZE_PX, 1))
    file = io.BytesIO()
    image = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    image.save(file, "JPEG", quality=int(rng.integers(30, 92)))
    with Image.open(file) as decoded:
        five_bits = np.asarray(decoded.convert("RGB")) >> 3
    return np.asarray(five_bits << 3 | five_bits >> 2, np.uint8)


def render(seed: int, index: int) -> tuple[Array, int]:
    """Draw sample ``index`` of ``seed``: uint8 [32, 32, 3] in RGB, and its digit."""
    rng = np.random.default_rng([seed, index])
    scene, digit = _wheels(rng) if rng.random() < 0.65 else _display(rng)
    return _camera(rng, _light(rng, _view(rng, scene))), digit


def render_set(seed: int, count: int) -> tuple[Array, Array]:
    """Draw ``count`` samples: uint8 [count, 32, 32, 3] in RGB, and their digits as int64 [count]."""
    images, digits = zip(*(render(seed, index) for index in range(count)), strict=True)
    return np.stack(images), np.array(digits, np.int64)
