"Programs as users write them: a type checker finds nothing wrong (`tests/test_types.py` runs it; nobody runs the programs)"
from mylib.collab import CollabDataLoaders, collab_learner, recommend
from mylib.tabular.all import Categorify, FillMissing, Normalize, TabularDataLoaders, pd, tabular_learner
from mylib.vision.all import (CategoryBlock, ClassificationInterpretation, DataBlock, ImageBlock, ImageDataLoaders, L, Learner, Path, RandomSplitter, RegressionBlock,
                              Resize, TargetBlock, TransformBlock, Watcher, accuracy, aug_transforms, error_rate, get_image_files, load_learner, nn, parent_label,
                              resnet18, torch, vision_learner)


def images(path: Path) -> None:
    pets = DataBlock(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=RandomSplitter(valid_pct=0.2, seed=42), get_y=parent_label,
                     item_tfms=[Resize(192, method='squish')], batch_tfms=aug_transforms())
    dls = pets.dataloaders(path, bs=32)
    dls.show_batch(max_n=6)
    learn = vision_learner(dls, resnet18, metrics=error_rate)
    learn.lr_find()
    learn.fine_tune(3, 2e-3)
    learn.fit_one_cycle(4, lr_max=slice(3e-5, 3e-4))
    interp = ClassificationInterpretation.from_learner(learn)
    interp.plot_confusion_matrix()
    interp.plot_top_losses(9)
    learn.export('model.mylib')
    label, _, probs = load_learner('model.mylib').predict('bird.jpg')
    print(label, max(probs))


def folders(path: Path) -> None:
    dls = ImageDataLoaders.from_folder(path, valid_pct=0.2, item_tfms=Resize(128))
    learn = vision_learner(dls, 'convnext_tiny', metrics=[error_rate, accuracy])
    preds, targs = learn.get_preds()
    learn.to_fp16().fit(1)
    print(preds, targs, learn.validate(), learn.recorder.history, dls.vocab, dls.c, len(dls.train_ds))


def table(df: pd.DataFrame) -> None:
    dls = TabularDataLoaders.from_df(df, y_names='salary', cat_names=['job'], cont_names=['age'], procs=[Categorify, FillMissing, Normalize])
    learn = tabular_learner(dls, metrics=accuracy)
    learn.fit_one_cycle(2)
    row, _, _ = learn.predict(df.iloc[0])
    print(row['salary'])


def ratings(path: Path) -> None:
    dls = CollabDataLoaders.from_csv(path/'ratings.csv')
    learn = collab_learner(dls, n_factors=50, y_range=(0, 5.5))
    learn.fit_one_cycle(5, 5e-3)
    print(recommend(learn, user=42))


class Shout(Watcher):
    def __init__(self, every: int = 10): self.every = every
    def after_batch(self, run) -> None:
        if run.training and run.step % self.every == 0: print(run.loss)


class Padded(TransformBlock):
    def collate(self, values, _samples): return nn.utils.rnn.pad_sequence([torch.tensor(o) for o in values], batch_first=True)


class Angle(TargetBlock):
    n_out = 2
    def make_loss(self): return nn.MSELoss()
    def decode(self, x, _sample): return torch.atan2(x[1], x[0])


def own(items: list) -> None:
    dls = DataBlock(blocks=(Padded, RegressionBlock), get_y=sum).dataloaders(items)
    learn = Learner(dls, nn.Linear(3, 1), cbs=[Shout(every=5)])
    learn.fit(3, 1e-2, cbs=Shout())
    names = L(items).map(str)
    print(names, DataBlock(blocks=(Padded, Angle)).summary(items))
