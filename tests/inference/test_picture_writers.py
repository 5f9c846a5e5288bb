"""What was found, as pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from rfcn.datasets.image import read_image
from rfcn.inference.film import Film
from rfcn.inference.frames import FilmFacts, Frame
from rfcn.inference.picture_writers import AnnotatedWriter, CropWriter, VideoWriter
from rfcn.inference.results import NamedDetections


def of_film(frame: Frame, stem: str, number: int) -> Frame:
    film = FilmFacts(stem, 5.0)
    return replace(frame, stem=f"{stem}_{number}", number=number, seconds=0.0, film=film)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_annotated_copies(frame: Frame, found: NamedDetections, tmp_path: Path) -> None:
    for frames, count in ((False, 1), (True, 2)):
        folder = tmp_path / str(frames)
        writer = AnnotatedWriter(folder, frames=frames)
        writer.write(frame, found)
        writer.write(of_film(frame, "clip", 3), found)
        writer.close()
        assert names(folder) == ["a.jpg", "clip_3.jpg"][:count]
    drawn = read_image(tmp_path / "False" / "a.jpg").astype(int)
    assert np.abs(drawn - found.draw()).mean() < 15  # JPEG
    assert np.abs(drawn - frame.image).max() > 50


def test_a_film_for_a_film(frame: Frame, found: NamedDetections, tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path)
    writer.write(frame, found)  # no film, no frame
    for stem, count in (("one", 3), ("two", 2)):
        for number in range(count):
            writer.write(of_film(frame, stem, number), found[: 3 if stem == "one" else 0])
    writer.close()
    films = sorted(path for path in tmp_path.iterdir() if path.is_file())
    assert [path.stem for path in films] == ["one", "two"]
    read = [[image for _, image in Film(path).frames()] for path in films]
    assert list(map(len, read)) == [3, 2]
    assert np.abs(read[0][0].astype(int) - found.draw()).mean() < 15
    assert np.abs(read[1][0].astype(int) - frame.image).mean() < 10


def test_crops_lie_by_class(frame: Frame, found: NamedDetections, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    writer = CropWriter(folder, found.class_names)
    writer.write(frame, found)
    writer.close()
    assert names(folder) == ["cat/a_1.jpg", "dog/a_0.jpg", "red fox/a_2.jpg"]
    dog = read_image(folder / "dog" / "a_0.jpg")
    assert dog.shape == (39, 30, 3)  # rows 2 to 41, columns 1 to 31: all it touches
    assert np.abs(dog.astype(int) - frame.image[2:41, 1:31]).mean() < 6
    assert read_image(folder / "red fox" / "a_2.jpg").shape == (30, 1, 3)


def test_crops_of_classes_whose_names_are_no_folders(
    frame: Frame, found: NamedDetections, tmp_path: Path
) -> None:
    odd = replace(found, class_names=("../up", ".. _up", "..."))
    writer = CropWriter(tmp_path / "crops", odd.class_names)
    writer.write(frame, odd)
    assert names(tmp_path / "crops") == ["_up/a_1.jpg", "_up_2/a_0.jpg", "class_3/a_2.jpg"]
