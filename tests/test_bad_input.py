"What a person does wrong is answered in a sentence or two: what, where and how to fix it, without a stack of frames"
import os, shutil, signal, struct, sys, tempfile, time, traceback, warnings, zlib
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import nn

import warm
from mylib.core.core import MylibNote, UsageError
from mylib.callback.run import Watcher, events
from mylib.core.samples import digits_folder
from mylib.core.testing import synth_images, synth_line
from mylib.data.block import CategoryBlock, RegressionBlock, TransformBlock
from mylib.data.datablock import DataBlock
from mylib.data.items import ColReader, get_image_files, parent_label
from mylib.data.loader import DataLoader
from mylib.data.loaders import DataLoaders
from mylib.data.split import ColSplitter, IndexSplitter, RandomSplitter
from mylib.data.transform import Transform
from mylib.deploy.load import load_learner
from mylib.learner.learner import Learner
from mylib.tabular.data import TabularDataLoaders
from mylib.vision.block import ImageBlock
from mylib.vision.data import ImageDataLoaders
from mylib.vision.image import PILImage
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


def folder(path, **kwargs): return ImageDataLoaders.from_folder(path, **{**dict(valid_pct=0.2, seed=1, bs=4, item_tfms=Resize(32), device='cpu'), **kwargs})


# Each of these does one thing wrong. `path` has two folders of six pictures each.

def empty_folder(path):
    shutil.rmtree(path)
    path.mkdir()
    folder(path)


def no_folder(path): folder(path.parent/'shape')


def folder_of_no_pictures(path):
    for f in path.rglob('*.png'): f.rename(f.with_suffix('.txt'))
    folder(path)


def fit(dls, *args, **kwargs): Learner(dls, nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), **kwargs).fit(*args)


def one_class(path):
    shutil.rmtree(path/'circle')
    with warnings.catch_warnings(action='ignore'): dls = folder(path) # to be looked at
    fit(dls, 1)


def empty_validation(path):
    with warnings.catch_warnings(action='ignore'): dls = loaders(path, splitter=lambda items: (range(len(items)), []))
    fit(dls, 1)


def splitter_not_made(path): loaders(path, splitter=RandomSplitter)
def resize_not_made(path): loaders(path, item_tfms=Resize)
def get_y_forgotten(path): loaders(path, get_y=None)
def get_items_forgotten(path): loaders(path, get_items=None)
def items_for_get_items(path): loaders(path, get_items=get_image_files(path))
def no_batch(path): block().dataloaders(path, bs=0)
def text_for_bs(path): block().dataloaders(path, bs='8')
def no_such_device(path): block().dataloaders(path, device='gpu')
def text_for_epochs(path): fit(loaders(path), '3')
def text_for_rate(path): fit(loaders(path), 1, '3e-3')
def unknown_metric(path): fit(loaders(path), 1, metrics='acuracy')


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


def class_with_one_image(path):
    "A class with one image, which is held out"
    (path/'lone').mkdir()
    photo().save(path/'lone'/'one.png')
    loaders(path, splitter=IndexSplitter([6, 0]))


def folder_without_permission(path):
    "Root may read everything, so it becomes nobody for a moment"
    with tempfile.TemporaryDirectory() as outside:
        shutil.copytree(path, f'{outside}/shapes')
        os.chmod(outside, 0o755)
        os.chmod(f'{outside}/shapes/circle', 0)
        with nobody(): folder(Path(outside)/'shapes')


def file_without_permission(path):
    with tempfile.TemporaryDirectory() as outside:
        shutil.copytree(path, f'{outside}/shapes')
        os.chmod(outside, 0o755)
        os.chmod(f'{outside}/shapes/circle/circle_003.png', 0)
        with nobody(): every_batch(folder(Path(outside)/'shapes'))


@contextmanager
def nobody():
    user = os.geteuid()
    if user==0: os.seteuid(65534)
    try: yield
    finally: os.seteuid(user)


def decompression_bomb(path):
    "A few kilobytes that stand for 3.6 thousand million pixels"
    w = h = 60_000
    def chunk(kind, data): return struct.pack('>I', len(data))+kind+data+struct.pack('>I', zlib.crc32(kind+data))
    data = zlib.compress(b'\0'*1_000_000, 9)
    (path/'circle'/'bomb.png').write_bytes(b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 1, 0, 0, 0, 0))+chunk(b'IDAT', data)+chunk(b'IEND', b''))
    every_batch(folder(path))


class Fails(Transform):
    def encodes(self, x:PILImage): raise ValueError('a mistake in a step')


def item_transform_raises(path): every_batch(loaders(path, item_tfms=[Fails(), Resize(32)]))


def get_x_raises_in_a_thread(path):
    def get_x(p): return p if '004' not in p.name else p.no_such
    dls = loaders(path, get_x=get_x)
    assert dls.train.num_workers>0
    every_batch(dls)


def one_sample_and_batch_norm(path):
    with vision_learner(folder(path, bs=1), 'resnet10t', pretrained=False).no_bar() as learn: learn.fit(1)


class Fills(nn.Module):
    "A model that asks for more memory than there is, as CUDA says it"
    def __init__(self): super().__init__(); self.layer = nn.Linear(3*32*32, 2)
    def forward(self, x):
        if self.training: raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB\nmore')
        return self.layer(x.flatten(1))


def out_of_memory(path):
    with Learner(folder(path), Fills()).no_bar() as learn: learn.fit(1)


def home_cannot_be_written(path):
    (path/'file').write_text('in the way')
    with mock.patch.dict(os.environ, MYLIB_HOME=str(path/'file'/'home')): digits_folder()


@contextmanager
def files_up_to(n_bytes):
    "As on a full disk, no file may grow beyond `n_bytes`"
    resource = pytest.importorskip('resource')
    handler,limit = signal.signal(signal.SIGXFSZ, signal.SIG_IGN),resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limit[1]))
    try: yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


def full_disk(path, write):
    learn = vision_learner(folder(path), 'resnet10t', pretrained=False)
    learn.path = path.parent
    write(learn)
    before = {o: o.read_bytes() for o in learn.path.rglob('*') if o.suffix in ('.pkl', '.pth')}
    assert len(before)==1
    try:
        with files_up_to(100_000): write(learn)
    finally: assert {o: o.read_bytes() for o in learn.path.rglob('*') if o.suffix in ('.pkl', '.pth', '.part')}==before


def full_disk_in_export(path): full_disk(path, lambda learn: learn.export())
def full_disk_in_save(path): full_disk(path, lambda learn: learn.save('weights'))


def checkpoint_of_another_model(path):
    with Learner(folder(path), nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2)), path=path.parent).no_bar() as learn: learn.fit(1, checkpoint='ckpt')
    with Learner(folder(path), nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 3)), path=path.parent).no_bar() as learn: learn.fit(1, checkpoint='ckpt', resume=True)


def checkpoint_of_other_data(path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2))
    with Learner(folder(path), model, path=path.parent).no_bar() as learn: learn.fit(1, checkpoint='ckpt')
    (path/'circle'/'circle_000.png').rename(path/'circle'/'other.png')
    with Learner(folder(path), model, path=path.parent).no_bar() as learn: learn.fit(1, checkpoint='ckpt', resume=True)


def checkpoint_cut_short(path):
    with Learner(folder(path), nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2)), path=path.parent).no_bar() as learn:
        learn.fit(1, checkpoint='ckpt')
        file = path.parent/'ckpt'/'last.ckpt'
        file.write_bytes(file.read_bytes()[:3000])
        learn.fit(1, checkpoint='ckpt', resume=True)


bad_inputs = [ # what is done, what the message names, how it says to fix it
    (empty_folder, '/shapes', 'Check the path'),
    (no_folder, '/shape', 'Did you mean `shapes`?'),
    (folder_of_no_pictures, '/shapes', 'Check the path, and that it has files of that kind'),
    (one_class, "only one category, 'square'", 'Make one folder a class'),
    (empty_validation, 'validation set is empty', 'RandomSplitter(valid_pct=0.2)'),
    (splitter_not_made, '`RandomSplitter` makes a splitter', 'Call it: splitter=RandomSplitter(...)'),
    (resize_not_made, '`Resize` is a class', 'Create it: Resize(size=...)'),
    (get_y_forgotten, '`get_y` is missing', 'Pass get_y=parent_label'),
    (get_items_forgotten, '/shapes', 'Pass get_items=get_image_files'),
    (items_for_get_items, 'must be a function that finds items', 'dataloaders(items)'),
    (no_batch, '`bs` is 0', 'at least 1'),
    (text_for_bs, "`bs` is '8'", 'a whole number'),
    (no_such_device, "'gpu'", "There is: "),
    (text_for_epochs, "`n_epoch` is '3'", 'a whole number'),
    (text_for_rate, "'3e-3'", 'Pass a number'),
    (unknown_metric, "'acuracy'", 'Did you mean `accuracy`'),
    (unreadable_image, 'circle_003.png', 'Replace or delete it'),
    (unreadable_image_in_fit, '.png', 'Replace or delete it'),
    (zero_bytes, 'circle_003.png is not a readable image: the file is empty', 'Replace or delete it'),
    (truncated_jpeg, 'circle_003.jpg', 'Replace or delete it'),
    (get_y_raises, 'IndexError', '`get_y` fails on'),
    (get_y_none, 'has a category', 'Check `get_y`'),
    (get_y_none_sometimes, 'triangle_00', 'let it return a value'),
    (get_y_raises_in_valid, 'square_005.png', '`get_y` fails on'),
    (different_shapes, '(3, 40, 40)', 'add item_tfms=Resize(224)'),
    (wrong_arch, 'resnet43', 'Did you mean'),
    (wrong_arch_case, 'ConvNeXt_tiny', 'Did you mean `convnext_tiny`'),
    (weights_of_another, 'other.safetensors', 'Pass the architecture that they were saved from'),
    (weights_cut_short, 'whole.safetensors', 'download it again'),
    (weights_missing, 'none.safetensors', 'Check the path'),
    (nan_target, 'nan', 'Drop such rows'),
    (label_in_valid_alone, "'square' is none of the 2 categories", 'Did you mean `sqare`?'),
    (label_in_valid_alone_3, "'triangle' is none of the 2 categories", 'in the validation set alone, or pass vocab='),
    (missing_column, 'lable', 'Did you mean `label`?'),
    (missing_split_column, 'heldout', 'Did you mean `held_out`?'),
    (no_train_folder, "no folder 'train'", 'pass valid_pct=0.2'),
    (metric_does_not_fit, 'metric `wrong`', 'Choose a metric that fits the target'),
    (loss_would_broadcast, '(4, 1)', 'shape'),
    (truncated_bundle, 'export.pkl', 'export it again'),
    (class_with_one_image, "'lone' is none of the 2 categories", 'in the validation set alone, or pass vocab='),
    (folder_without_permission, 'shapes/circle cannot be read: Permission denied', 'Give yourself the right to read it'),
    (file_without_permission, 'circle_003.png', 'Permission denied'),
    (decompression_bomb, 'bomb.png is too large', 'If you trust it, raise `PIL.Image.MAX_IMAGE_PIXELS`'),
    (item_transform_raises, 'The item transform Fails fails on item', 'a mistake in a step'),
    (get_x_raises_in_a_thread, '_004.png', '`get_x` fails on'),
    (one_sample_and_batch_norm, 'Batch normalization cannot learn from a batch of one sample', 'bs=2 or more'),
    (out_of_memory, 'The memory is not enough for a batch of 4', 'Make the loaders with bs=2'),
    (home_cannot_be_written, 'file/home', 'Set the environment variable MYLIB_HOME'),
    (full_disk_in_export, 'export.pkl cannot be written: File too large', 'with enough free space'),
    (full_disk_in_save, 'weights.pth cannot be written: File too large', 'with enough free space'),
    (checkpoint_of_another_model, "model.weights.1.weight is '(3, 3072) float32' now and was '(2, 3072) float32' then", 'Call the fit as then'),
    (checkpoint_of_other_data, 'data.items is', 'begin anew without resume=True'),
    (checkpoint_cut_short, 'last.ckpt cannot be read as a checkpoint', 'Delete it to begin anew'),
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


needs_posix = pytest.mark.skipif(os.name=='nt', reason='Windows has other permissions and limits')
posix_only = folder_without_permission, file_without_permission, full_disk_in_export, full_disk_in_save


@pytest.mark.parametrize('do,names,fix', [pytest.param(*o, id=o[0].__name__, marks=[needs_posix]*(o[0] in posix_only)) for o in bad_inputs])
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


@pytest.mark.parametrize('name,fix', dict(batch_size='It is called `bs` here', bss='Did you mean `bs`', item_tfm='Did you mean `item_tfms`').items())
def test_an_argument_by_another_name(path, name, fix):
    make = DataBlock if name=='item_tfm' else lambda **kwargs: block().dataloaders(path, **kwargs)
    with pytest.raises(TypeError) as caught: make(**{name: 8})
    assert fix in str(caught.value) and name in str(caught.value)


def test_a_metric_by_its_name(path):
    learn = Learner(loaders(path), nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), metrics=['accuracy', 'RocAucBinary'])
    assert [getattr(o, '__name__', None) for o in learn.metrics]==['accuracy', 'RocAucBinary']


def test_different_shapes_names_both_items(path):
    message = told(different_shapes, path)
    assert message.count('.png')==2 and '(3, 32, 32)' in message


@pytest.mark.parametrize('arch', ['resnet18', 'mobilenetv2_100'])
def test_offline_is_said_after_few_attempts(path, arch, monkeypatch):
    "Without network and without a cached file, the answer comes after a few attempts and short pauses"
    asked,slept = [],[]
    def _no_network(*args, **_kwargs):
        asked.append(args)
        raise OSError('Temporary failure in name resolution')
    monkeypatch.setenv('HF_HUB_CACHE', str(path))
    monkeypatch.setattr('socket.getaddrinfo', _no_network)
    monkeypatch.setattr('time.sleep', slept.append)
    dls = folder(path)
    message = told(lambda: vision_learner(dls, arch))
    assert 'could not be downloaded' in message and 'pass `weights=` a local safetensors file' in message
    assert 1<=len(asked)<=20 and sum(slept)<10, (len(asked), slept)


def test_concise_can_be_switched_off(path, monkeypatch):
    monkeypatch.setenv('MYLIB_TRACE', '1')
    with pytest.raises(UsageError) as caught: one_class(path)
    assert len(traceback.extract_tb(caught.value.__traceback__))>3


def test_command_line(path):
    "In a shell too, the first thing to be seen is the sentence"
    shutil.rmtree(path/'circle')
    done = warm.run(warm.command, 'train', path, '--out', path/'out')
    assert done.returncode!=0
    assert 'Traceback' not in done.stderr and 'Make one folder a class' in done.stderr, done.stderr


# What is odd, but goes on: it is said once

def line_loaders(x, y): return DataLoaders(*[DataLoader(list(zip(x, y)), 4, seed=1, shuffle=shuffle) for shuffle in (True, False)])


def fit_line(lr=0.01, x=None, y=None, metrics=()):
    a,b = synth_line(20)
    with Learner(line_loaders(a if x is None else x, b if y is None else y), nn.Linear(1, 1), loss_func=nn.MSELoss(), lr=lr, metrics=list(metrics)).no_bar() as learn: learn.fit(3)


def spoilt(xs, i):
    xs = xs.clone()
    xs[i] = float('nan')
    return xs


def undefined(pred, _targ): return pred.mean()*float('nan')


def disk_fills_in_fit(path):
    with Learner(folder(path), nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 9), nn.Linear(9, 2)), path=path.parent).no_bar() as learn:
        learn.fit(1, checkpoint='ckpt')
        with files_up_to(100_000): learn.fit(2, checkpoint='ckpt', resume=False)


def cache_cannot_grow(path):
    with files_up_to(1000): every_batch(folder(path, cache=path.parent/'cache'))


oddities = [ # what is done, how often it is said, what is said
    (lambda _: fit_line(x=spoilt(synth_line(20)[0], 7)), 1, 'Slot 0 of item 7 holds NaN or infinity: fix or remove that item'),
    (lambda _: fit_line(y=spoilt(synth_line(20)[1], 9)), 1, 'Slot 1 of item 9 holds NaN or infinity: fix or remove that item'),
    (lambda _: fit_line(lr=1e12), 1, 'use a lower learning rate, such as a tenth'),
    (lambda _: fit_line(metrics=[undefined]), 1, 'Over the validation set, undefined is NaN'),
    pytest.param(disk_fills_in_fit, 2, 'last.ckpt cannot be written: File too large. Choose a folder that you may write to', marks=needs_posix),
    pytest.param(cache_cannot_grow, 1, 'stops growing', marks=needs_posix),
]


@pytest.mark.parametrize('do,times,what', oddities, ids=['nan_input', 'nan_target', 'diverged', 'nan_metric', 'disk_fills_in_fit', 'cache_cannot_grow'])
def test_odd_input_is_said(path, do, times, what, capsys):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        do(path)
    told = [str(o.message) for o in said if not issubclass(o.category, MylibNote)]
    assert [what in o for o in told]==[True]*times, told


# What is unusual, and simply works

def save(folder, name, im, **kwargs):
    file = folder/'circle'/name
    im.save(file, **kwargs)
    return file


def photo(mode='RGB', seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def rotated(folder):
    im = photo()
    exif = im.getexif()
    exif[0x0112] = 6
    return save(folder, 'rotated.png', im, exif=exif)


def sixteen_bits(folder): return save(folder, 'sixteen.png', Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (32, 32), dtype=np.uint16)))


def as_rgb(file):
    "The picture as PIL alone makes it"
    im = ImageOps.exif_transpose(Image.open(file))
    if im.mode.startswith('I'): im = Image.fromarray((np.asarray(im)/257).round().astype(np.uint8))
    return np.asarray(im.convert('RGB'))


pictures = dict(palette=lambda f: save(f, 'palette.png', photo('P')), cmyk=lambda f: save(f, 'cmyk.jpg', photo('CMYK')), rgba=lambda f: save(f, 'rgba.png', photo('RGBA')), grey=lambda f: save(f, 'grey.png', photo('L')),
                grey_alpha=lambda f: save(f, 'grey_alpha.png', photo('LA')), one_bit=lambda f: save(f, 'one_bit.png', photo('1')), gif=lambda f: save(f, 'moving.gif', photo(), save_all=True, append_images=[photo(seed=1)]),
                grey_jpeg=lambda f: save(f, 'grey.jpg', photo('L')), progressive=lambda f: save(f, 'progressive.jpg', photo(), progressive=True), rotated=rotated, sixteen_bits=sixteen_bits)


@pytest.mark.parametrize('kind', pictures)
def test_every_kind_of_picture_becomes_rgb(path, kind):
    "Alone, and through a loader in threads, to the pixel"
    file = pictures[kind](path)
    expected = as_rgb(file).astype(int)
    off = 1 if kind=='sixteen_bits' else 0
    assert np.abs(np.asarray(PILImage.create(file)).astype(int)-expected).max()<=off
    dls = loaders(path, item_tfms=None, splitter=IndexSplitter([1]))
    i = list(dls.train_ds.items).index(file)
    x = torch.cat([b[0] for b in dls.train.new(shuffle=False, drop_last=False)])[i]
    x = (x*255).round() if x.is_floating_point() else x
    assert np.abs(x.permute(1, 2, 0).numpy().astype(int)-expected).max()<=off


def test_names_of_all_kinds(path, capsys):
    "Spaces, line breaks, other scripts, signs: in files and in classes, through training, bundle and prediction"
    from mylib.deploy.load import load_learner
    names = ['with space.png', '日本 語.png', 'ünï.png', '%20&?#.png', "a'quote.png"]+(['line\nbreak.png', 'double"quote.png'] if os.name!='nt' else [])
    for i,n in enumerate(names): photo(seed=i).save(path/'circle'/n)
    other = 'Klasse\nmit Zeile' if os.name!='nt' else 'Klasse'
    (path/'square').rename(path/other)
    learn = vision_learner(folder(path), 'resnet10t', pretrained=False)
    learn.path,learn.bar = path.parent,False
    learn.fit(1)
    loaded = load_learner(learn.export())
    assert set(loaded.dls.vocab)=={'circle', other}
    for n in names: assert loaded.predict(path/'circle'/n)[0]==learn.predict(path/'circle'/n)[0]
    learn.dls.show_batch(); learn.show_results()


def small(path, bs=4, **kwargs):
    with vision_learner(loaders(path, **kwargs).new(bs=bs), 'resnet10t', pretrained=False).no_bar() as learn:
        learn.fit(1)
        assert np.isfinite(learn.history[0]['train_loss']) and np.isfinite(learn.history[0]['valid_loss'])
        assert len(learn.get_preds()[0])==len(learn.dls.valid_ds)
        learn.show_results()
        return learn


@pytest.mark.usefixtures('no_windows')
def test_one_validation_item(path, capsys): small(path, splitter=IndexSplitter([3]))


@pytest.mark.usefixtures('no_windows')
def test_batch_size_above_the_data_size(path, capsys): assert len(small(path, bs=1000).recorder.losses)==1


def test_a_last_batch_of_one_with_batch_norm(path, capsys):
    "Nine training items in batches of four leave one over: it waits for the next epoch's order"
    dls = block(splitter=IndexSplitter([0, 6, 11])).dataloaders(path, bs=4, device='cpu', seed=1)
    assert len(dls.train_ds)==9 and len(dls.train)==2
    with vision_learner(dls, 'resnet10t', pretrained=False).no_bar() as learn: learn.fit(1)
    assert len(learn.recorder.losses)==2


def test_two_processes_and_one_cache(path):
    "They find what the other one wrote, or write it both; the pixels are the same"
    code = """
import hashlib, sys
from mylib.vision.data import ImageDataLoaders
from mylib.vision.transform import Resize
dls = ImageDataLoaders.from_folder(sys.argv[1], valid_pct=0.2, seed=1, bs=4, item_tfms=Resize(16), device='cpu', cache=sys.argv[2] or False)
print(hashlib.sha256(b''.join(x.numpy().tobytes() for _ in range(3) for x,_ in dls.valid)).hexdigest())
"""
    jobs = [warm.start(code, path, o) for o in (path.parent/'cache', path.parent/'cache', '')]
    sums = [o.communicate(timeout=600)[0].strip() for o in jobs]
    assert len(sums[0])==64 and len(set(sums))==1
    assert len(list((path.parent/'cache').rglob('*.npy')))>0 and not list((path.parent/'cache').rglob('*.part'))


def test_memory_is_let_go_when_there_was_too_little(path):
    "While the error is still at hand, the batch is gone, without the garbage collector"
    import gc, weakref
    seen = []

    class Remembers(Watcher):
        def before_batch(self, run): seen.append(weakref.ref(run.xb[0]))

    learn = Learner(folder(path), Fills(), cbs=Remembers())
    gc.disable()
    try:
        with learn.no_bar(), pytest.raises(UsageError) as caught: learn.fit(1)
        assert seen and all(o() is None for o in seen), caught
    finally: gc.enable()
    assert all(p.grad is None for p in learn.model.parameters())


@pytest.mark.parametrize('event', events)
def test_ctrl_c_in_every_phase(path, event, capsys):
    "The learner is whole afterwards: it predicts, trains, saves, and is as the last step left it"
    def interrupt(self, run):
        self.n += 1
        if self.n==1: raise KeyboardInterrupt
    Interrupts = type('Interrupts', (Watcher,), dict(__init__=lambda self: setattr(self, 'n', 0), **{event: interrupt}))
    learn = Learner(folder(path), nn.Sequential(nn.Flatten(), nn.Linear(3*32*32, 2)), path=path.parent)
    learn.bar = False
    with pytest.raises(KeyboardInterrupt, match='Stopped in epoch [01] at batch'): learn.fit_one_cycle(2, cbs=Interrupts(), checkpoint='ckpt')
    assert all(p.grad is None and torch.isfinite(p).all() for p in learn.model.parameters())
    assert torch.is_grad_enabled()
    learn.get_preds()
    learn.fit_one_cycle(2, checkpoint='ckpt', resume=True)
    assert [r['epoch'] for r in learn.history]==[0, 1]



python_errors = dict(
    missing_model=(FileNotFoundError, lambda path: load_learner(path/'none.mylib')),
    missing_picture=(FileNotFoundError, lambda path: PILImage.create(path/'none.png')),
    missing_folder=(FileNotFoundError, lambda path: get_image_files(path/'none')),
    missing_data=(FileNotFoundError, lambda path: ImageDataLoaders.from_folder(path/'none', valid_pct=0.2)),
    missing_table=(FileNotFoundError, lambda path: TabularDataLoaders.from_csv(path/'none.csv', y_names='y')),
    missing_item=(FileNotFoundError, lambda path: block(get_items=None, splitter=IndexSplitter([0])).datasets([path/'circle'/'none.png', *get_image_files(path)]).valid[0]),
    unknown_arch=(KeyError, lambda path: vision_learner(folder(path), 'resnet43', pretrained=False)),
    sample_out_of_range=(IndexError, lambda path: folder(path).train_ds[999]),
    class_for_model=(TypeError, lambda path: Learner(folder(path), nn.Linear)))

@pytest.mark.parametrize('kind,do', python_errors.values(), ids=python_errors.keys())
def test_an_error_is_also_the_one_that_a_program_would_catch(path, kind, do):
    with pytest.raises(kind) as caught: do(path)
    assert isinstance(caught.value, UsageError)
    assert not str(caught.value).startswith(("'", '"'))
