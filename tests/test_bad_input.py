"What a person does wrong is answered in a sentence or two: what, where and how to fix it, without a stack of frames"
import shutil, time, traceback
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from mylib.core.core import UsageError
from mylib.core.testing import synth_images, synth_line
from mylib.data.block import CategoryBlock, RegressionBlock, TransformBlock
from mylib.data.datablock import DataBlock
from mylib.data.items import ColReader, get_image_files, parent_label
from mylib.data.split import ColSplitter, IndexSplitter, RandomSplitter
from mylib.learner.learner import Learner
from mylib.vision.block import ImageBlock
from mylib.vision.data import ImageDataLoaders
from mylib.vision.learner import vision_learner
from mylib.vision.transform import Resize


@pytest.fixture
def path(tmp_path): return synth_images(tmp_path/'shapes', n_per_class=6)


def block(get_y=parent_label, **kwargs):
    return DataBlock(**{**dict(blocks=(ImageBlock, CategoryBlock), get_items=get_image_files, splitter=RandomSplitter(seed=1), get_y=get_y, item_tfms=Resize(32)), **kwargs})


def loaders(path, **kwargs): return block(**kwargs).dataloaders(path, bs=4, device='cpu', seed=1)


def every_batch(dls):
    with Learner(dls, nn.Sequential(nn.Flatten(), nn.LazyLinear(2))).no_bar() as learn:
        for i in 0,1: learn.validate(i)


def folder(path, valid_pct=0.2): return ImageDataLoaders.from_folder(path, valid_pct=valid_pct, seed=1, bs=4, item_tfms=Resize(32), device='cpu')


# Each of these does one thing wrong. `path` has two folders of six pictures each.

def empty_folder(path):
    shutil.rmtree(path)
    path.mkdir()
    folder(path)


def no_folder(path): folder(path.parent/'shape')


def folder_of_no_pictures(path):
    for f in path.rglob('*.png'): f.rename(f.with_suffix('.txt'))
    folder(path)


def one_class(path):
    shutil.rmtree(path/'circle')
    folder(path)


def unreadable_image(path):
    (path/'circle'/'circle_003.png').write_bytes(b'this is no picture')
    every_batch(folder(path))


def unreadable_image_in_fit(path):
    dls = folder(path)
    for f in path.rglob('*.png'): f.write_bytes(b'this is no picture')
    Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2))).fit(1)


def zero_bytes(path):
    (path/'circle'/'circle_003.png').write_bytes(b'')
    every_batch(folder(path))


def truncated_jpeg(path):
    f = path/'circle'/'circle_003.jpg'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (200,200,3), dtype=np.uint8)).save(f)
    f.write_bytes(f.read_bytes()[:5000])
    every_batch(folder(path))


def get_y_raises(path): loaders(path, get_y=lambda p: p.stem.split('-')[1])
def get_y_none(path): loaders(path, get_y=lambda p: None)


def get_y_none_sometimes(path):
    synth_images(path, n_per_class=2, classes=['triangle'])
    labels = dict(circle='round', square='angular')
    loaders(path, get_y=lambda p: labels.get(p.parent.name))


def get_y_raises_in_valid(path):
    "The item that fails is number 11, which is held out"
    loaders(path, get_y=lambda p: dict(circle='a', square='b')[p.parent.name] if '005' not in p.name or p.parent.name=='circle' else p.no_such, splitter=IndexSplitter([11]))


def different_shapes(path):
    synth_images(path, n_per_class=2, size=40)
    every_batch(loaders(path, item_tfms=None))


def wrong_arch(path): vision_learner(folder(path), 'resnet43', pretrained=False)
def wrong_arch_case(path): vision_learner(folder(path), 'ConvNeXt_tiny', pretrained=False)


def weights_of_another(path):
    save_file(dict(weight=torch.zeros(3, 3)), path/'other.safetensors')
    vision_learner(folder(path), 'resnet10t', weights=path/'other.safetensors')


def weights_cut_short(path):
    whole = path/'whole.safetensors'
    save_file(dict(weight=torch.zeros(300, 300)), whole)
    whole.write_bytes(whole.read_bytes()[:1000])
    vision_learner(folder(path), 'resnet10t', weights=whole)


def weights_missing(path): vision_learner(folder(path), 'resnet10t', weights=path/'none.safetensors')


def nan_target(_path):
    df = pd.DataFrame(dict(x=np.arange(10.), y=[1., 2., np.nan, *range(7)]))
    DataBlock(blocks=(TransformBlock, RegressionBlock), get_x=ColReader('x'), get_y=ColReader('y'), splitter=IndexSplitter([0, 1])).dataloaders(df, bs=4)


def label_in_valid_alone(path): loaders(path, splitter=IndexSplitter([6, 7, 8, 9, 10, 11]), blocks=(ImageBlock, CategoryBlock(vocab=['circle', 'sqare'])))


def label_in_valid_alone_3(path):
    synth_images(path, n_per_class=2, classes=['triangle'])
    loaders(path, splitter=IndexSplitter([12, 13]))


def missing_column(path):
    df = pd.DataFrame(dict(name=[str(o) for o in get_image_files(path)], label=['a', 'b']*6))
    ImageDataLoaders.from_df(df, path, fn_col='name', label_col='lable', y_block=CategoryBlock)


def missing_split_column(path):
    df = pd.DataFrame(dict(name=[str(o) for o in get_image_files(path)], label=['a', 'b']*6, held_out=[False]*6+[True]*6))
    block(get_items=None, get_x=ColReader('name'), get_y=ColReader('label'), splitter=ColSplitter('heldout')).dataloaders(df, bs=4)


def no_train_folder(path): ImageDataLoaders.from_folder(path, bs=4)


def metric_does_not_fit(path):
    def wrong(pred, targ): return (pred@targ).sum()
    with Learner(folder(path), nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2)), metrics=wrong).no_bar() as learn: learn.fit(1)


def loss_would_broadcast(_path):
    x,y = synth_line(20)
    dls = DataBlock(blocks=(TransformBlock(torch.tensor), RegressionBlock), get_x=lambda o: [o[0]], get_y=lambda o: o[1], splitter=IndexSplitter([0, 1])).dataloaders(
        list(zip(x[:,0].tolist(), y[:,0].tolist())), bs=4, device='cpu')
    with Learner(dls, nn.Linear(1, 2)).no_bar() as learn: learn.fit(1)


def truncated_bundle(path):
    from mylib.deploy.load import load_learner
    learn = vision_learner(folder(path), 'resnet10t', pretrained=False)
    learn.path = path
    f = learn.export()
    f.write_bytes(f.read_bytes()[:10_000])
    load_learner(f)


bad_inputs = [ # what is done, what the message names, how it says to fix it
    (empty_folder, '/shapes', 'Check the path'),
    (no_folder, '/shape', 'Did you mean `shapes`?'),
    (folder_of_no_pictures, '/shapes', 'Check the path, and that it has files of that kind'),
    (one_class, "only one category, 'square'", 'Make one folder a class'),
    (unreadable_image, 'circle_003.png', 'Replace or delete it'),
    (unreadable_image_in_fit, '.png', 'Replace or delete it'),
    (zero_bytes, 'circle_003.png is not a readable picture: the file is empty', 'Replace or delete it'),
    (truncated_jpeg, 'circle_003.jpg', 'Replace or delete it'),
    (get_y_raises, 'IndexError', '`get_y` fails on'),
    (get_y_none, 'has a category', 'Check `get_y`'),
    (get_y_none_sometimes, 'triangle_00', 'let it return a value'),
    (get_y_raises_in_valid, 'square_005.png', '`get_y` fails on'),
    (different_shapes, '(3, 40, 40)', 'add item_tfms=Resize(224)'),
    (wrong_arch, 'resnet43', 'Did you mean'),
    (wrong_arch_case, 'ConvNeXt_tiny', 'Did you mean `convnext_tiny`'),
    (weights_of_another, 'other.safetensors', 'Pass the architecture that they were saved from'),
    (weights_cut_short, 'whole.safetensors', 'fetch it again'),
    (weights_missing, 'none.safetensors', 'Check the path'),
    (nan_target, 'nan', 'Drop such rows'),
    (label_in_valid_alone, "'square' is none of the 2 categories", 'Did you mean `sqare`?'),
    (label_in_valid_alone_3, "'triangle' is none of the 2 categories", 'can be moved, or pass vocab='),
    (missing_column, 'lable', 'Did you mean `label`?'),
    (missing_split_column, 'heldout', 'Did you mean `held_out`?'),
    (no_train_folder, "no folder 'train'", 'pass valid_pct=0.2'),
    (metric_does_not_fit, 'metric `wrong`', 'Choose a metric that fits the target'),
    (loss_would_broadcast, '(4, 1)', 'shape'),
    (truncated_bundle, 'model.mylib', 'export it again'),
]


def told(do, *args):
    "The error of `do`, which must be short, and of few frames in our code"
    with pytest.raises(UsageError) as caught: do(*args)
    error = caught.value
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename!=__file__]
    frames = [f for f in frames if '/_pytest/' not in f.filename and '/pluggy/' not in f.filename]
    assert len(frames)<=3, [f'{Path(f.filename).name}:{f.lineno} {f.name}' for f in frames]
    shown = ''.join(traceback.format_exception(error))
    assert shown.count('Traceback (most recent call last)')==1, shown
    assert len(str(error))<700, str(error)
    return str(error)


@pytest.mark.parametrize('do,names,fix', bad_inputs, ids=[o[0].__name__ for o in bad_inputs])
def test_bad_input(path, do, names, fix):
    message = told(do, path)
    assert names in message and fix in message, message


looks = dict(iterated=lambda dls: list(dls.train), one_batch=lambda dls: dls.one_batch(), loader_one_batch=lambda dls: dls.train.one_batch(),
             show_batch=lambda dls: dls.show_batch(), sample=lambda dls: dls.train_ds[0])


@pytest.mark.parametrize('look', looks)
def test_unreadable_image_in_a_loader_used_by_hand(path, look):
    "Without a learner around it, a loader says it as shortly"
    dls = folder(path)
    for f in path.rglob('*.png'): f.write_bytes(b'this is no picture')
    assert 'Replace or delete it' in told(looks[look], dls)


def test_different_shapes_names_both_items(path):
    message = told(different_shapes, path)
    assert message.count('.png')==2 and '(3, 32, 32)' in message


@pytest.mark.parametrize('arch', ['resnet18', 'mobilenetv2_100'])
def test_offline_is_said_in_seconds(path, arch, monkeypatch):
    "Without network and without a cached file, the answer comes at once"
    monkeypatch.setenv('HF_HUB_CACHE', str(path))
    monkeypatch.setattr('socket.getaddrinfo', no_network)
    dls,began = folder(path),time.perf_counter()
    message = told(lambda: vision_learner(dls, arch))
    assert 'could not be fetched' in message and 'pass `weights=` a local safetensors file' in message
    assert time.perf_counter()-began<10


def no_network(*_args, **_kwargs): raise OSError('Temporary failure in name resolution')


def test_concise_can_be_switched_off(path, monkeypatch):
    monkeypatch.setenv('MYLIB_TRACE', '1')
    with pytest.raises(UsageError) as caught: one_class(path)
    assert len(traceback.extract_tb(caught.value.__traceback__))>3


def test_command_line(path):
    "In a shell too, the first thing to be seen is the sentence"
    cli = pytest.importorskip('mylib.deploy.cli')
    import subprocess, sys
    shutil.rmtree(path/'circle')
    done = subprocess.run([sys.executable, '-c', f'import sys; from {cli.__name__} import main; sys.exit(main())', 'train', str(path), '--out', str(path/'out')], capture_output=True, text=True, timeout=100)
    assert done.returncode!=0
    assert 'Traceback' not in done.stderr and 'Make one folder a class' in done.stderr, done.stderr
