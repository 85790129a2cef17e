"""Recipe files: as a path, or by the name of one that ships."""

from __future__ import annotations

from pathlib import Path

from finetune.embedded import recipe_folder
from finetune.errors import Problem, RecipeError
from finetune.recipe.problems import near


def find(name: str) -> Path:
    """The file of a recipe: a path as given, else a shipped recipe such as `samsum`.

    Raises:
        RecipeError: there is none.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    return shipped(name) or _refuse(path)


def shipped(name: str) -> Path | None:
    """A shipped recipe by its name, with or without `.yaml`; of a sub-folder as `folder/name`."""
    found = _shipped()
    bare = name.removesuffix(".yaml")
    return found.get(bare)


def missing(path: Path) -> str:
    """Why there is no recipe at `path`, and what there is."""
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if p.suffix in {".yaml", ".yml"})
        tail = f"; it holds {', '.join(inside)}" if inside else ""
        return f"this is a folder; name a recipe file in it{tail}"
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    names = {each.name: str(each) for each in beside if each.suffix in {".yaml", ".yml"}}
    names |= {name: name for name in _shipped()}
    match = near(path.name, names) or near(path.stem, names)
    hint = f"; did you mean '{names[match]}'?" if match else ""
    return f"no such recipe{hint}\n    shipped: {', '.join(_shipped())}"


def _shipped() -> dict[str, Path]:
    folder = recipe_folder()
    files = sorted(folder.rglob("*.yaml"), key=lambda p: (len(p.parts), p))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def _refuse(path: Path) -> Path:
    raise RecipeError([Problem(missing(path), str(path))])
