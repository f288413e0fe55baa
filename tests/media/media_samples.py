"""Real footage, small, made by ffmpeg; and the runner as root and as an ordinary user."""

import functools
import os
import subprocess
from pathlib import Path

import pytest

from dockwarden.media import sandbox

NOBODY = 65534
CLIP_S = 3


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg, unconfined, on what a test has made itself."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=120)


def make_footage(folder: Path) -> None:
    """clip.mp4 (H.264, AAC, 3 s), other.mp4, long.mp4 (60 s), voice.wav, photo.jpg."""
    # every colour and point given: the filter draws the rest by a chance that its seed does not hold
    moving = f"gradients=s=320x240:r=25:d={CLIP_S}:speed=0.05:n=4"
    picture = f"{moving}:x0=20:y0=30:x1=250:y1=200:c0=red:c1=blue:c2=white:c3=black"
    other = f"{moving}:x0=300:y0=10:x1=40:y1=220:c0=black:c1=yellow:c2=navy:c3=lime"
    sound = f"sine=440:d={CLIP_S}"
    h264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25")
    secret = ("-metadata", "title=secret-place", "-metadata", "creation_time=2026-11-24T08:00:00Z")
    lavfi = ("-f", "lavfi", "-i")
    ffmpeg(*lavfi, picture, *lavfi, sound, *h264, "-c:a", "aac", *secret, folder / "clip.mp4")
    ffmpeg(*lavfi, other, *h264, folder / "other.mp4")
    ffmpeg(*lavfi, "testsrc2=s=160x120:r=10:d=60", *h264, folder / "long.mp4")
    ffmpeg(*lavfi, sound, folder / "voice.wav")
    ffmpeg("-i", folder / "clip.mp4", "-frames:v", "1", folder / "photo.jpg")


def as_ordinary_user(patch: pytest.MonkeyPatch) -> None:
    """Let root's runner start its processes as nobody; an ordinary user's runner already is one."""
    if os.geteuid() == 0:
        start = functools.partial(subprocess.Popen, user=NOBODY, group=NOBODY, extra_groups=[])
        patch.setattr(sandbox.subprocess, "Popen", start)
