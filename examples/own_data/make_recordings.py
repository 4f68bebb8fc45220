"""Write a small data set: people who wave the left hand, wave the right hand, or squat.

    python make_recordings.py FOLDER

Every clip is a `.npy` file, float32 [frames, joints, 3] in metres. The table is `clips.csv`.
"""

import csv
import sys
from pathlib import Path

import numpy as np

LABELS = ("wave left", "wave right", "squat")
CLIPS = 72
CLIPS_OF_A_CAMERA = 36
SUBJECTS = 6

# Standing before the camera: x, y up, z away from it, in metres.
STANDING = np.array(
    [
        [0, 0, 3],  # pelvis
        [0, 0.5, 3],  # chest
        [0, 0.8, 3],  # head
        [0.2, 0.5, 3],  # left shoulder
        [0.25, 0.25, 3],  # left elbow
        [0.25, 0, 3],  # left hand
        [-0.2, 0.5, 3],  # right shoulder
        [-0.25, 0.25, 3],  # right elbow
        [-0.25, 0, 3],  # right hand
        [0.1, -0.4, 3],  # left knee
        [0.1, -0.8, 3],  # left foot
        [-0.1, -0.4, 3],  # right knee
        [-0.1, -0.8, 3],  # right foot
    ]
)
LEFT_HAND = 5
RIGHT_HAND = 8
ABOVE_THE_KNEES = slice(0, 9)


def perform(label: str, random: np.random.Generator) -> np.ndarray:
    """Return one clip of an action, float32 [frames, joints, 3]."""
    time = np.linspace(0, 2 * np.pi, random.integers(30, 60))
    size = random.normal(1, 0.05)
    clip = np.repeat(STANDING[None], len(time), axis=0) * size
    if label == "wave left":
        clip[:, LEFT_HAND, 1] += 0.6 + 0.3 * np.sin(3 * time)
    elif label == "wave right":
        clip[:, RIGHT_HAND, 1] += 0.6 + 0.3 * np.sin(3 * time)
    else:
        clip[:, ABOVE_THE_KNEES, 1] -= 0.2 * (1 - np.cos(time))[:, None]
    noise = random.normal(0, 0.01, clip.shape)
    return (clip + noise).astype(np.float32)


def main(folder: Path) -> None:
    """Write all clips, and the table that says what they are."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["clip_id", "path", "label", "subject", "camera"])
        for number in range(CLIPS):
            label = LABELS[number % len(LABELS)]
            subject = 1 + number // len(LABELS) % SUBJECTS
            camera = 1 + number // CLIPS_OF_A_CAMERA
            path = f"{number:03}.npy"
            np.save(folder / path, perform(label, random))
            table.writerow([f"clip{number:03}", path, label, subject, camera])
    print(f"{CLIPS} clips in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
