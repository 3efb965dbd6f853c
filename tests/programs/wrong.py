"Programs with a mistake on each line that says so: a type checker finds these and no others (`tests/test_types.py`)"
from mylib.vision.all import (CategoryBlock, DataBlock, ImageBlock, ImageDataLoaders, Learner, Path, Watcher, get_image_files, nn, parent_label, resnet18,
                              vision_learner)


def misspelt_method(path: Path) -> None:
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.2)
    learn = vision_learner(dls, resnet18)
    learn.fit_one_cycel(3)  # wrong: a misspelt method
    dls.show_batsh()  # wrong: a misspelt method
    learn.recorder.plot_lost()  # wrong: a misspelt method


def misspelt_argument(path: Path) -> None:
    pets = DataBlock(blocks=(ImageBlock, CategoryBlock), get_itms=get_image_files)  # wrong: a misspelt argument
    dls = pets.dataloaders(path)
    learn = Learner(dls, nn.Linear(1, 1))
    learn.fit(3, learning_rate=0.1)  # wrong: a misspelt argument
    learn.fit_one_cycle(3, lr_maks=0.1)  # wrong: a misspelt argument
    learn.predict('bird.jpg', with_inputs=True)  # wrong: a misspelt argument


def path_for_loaders(path: Path) -> None:
    Learner(path, nn.Linear(1, 1))  # wrong: a path where loaders belong
    vision_learner('photos', resnet18)  # wrong: a path where loaders belong


class Baseless:
    def after_batch(self, run) -> None: print(run.loss)


def callback_without_a_base(path: Path) -> None:
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.2)
    Learner(dls, nn.Linear(1, 1), cbs=[Baseless()])  # wrong: a callback without a base
    vision_learner(dls, resnet18).fit(1, cbs=Baseless())  # wrong: a callback without a base


class Right(Watcher):
    def after_batch(self, run) -> None: print(run.loss)


def right(path: Path) -> None:
    dls = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, get_y=parent_label).dataloaders(path, bs=8)
    Learner(dls, nn.Linear(1, 1), cbs=Right()).fit(1)
