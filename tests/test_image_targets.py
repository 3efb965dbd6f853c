"""Lessons with images whose target is a mask, a point or several labels, as a notebook writes them, on small images that are drawn here"""
import json

import matplotlib
matplotlib.use('Agg')
import pytest
from mylib.core.part import describe
from mylib.core.testing import synth_images
from mylib.deploy.parts import build_part
from mylib.vision.all import (BBoxBlock, BBoxLblBlock, DataBlock, FuncSplitter, Image, ImageBlock, ImageDataLoaders, Learner, MaskBlock,
    MultiCategoryBlock, MultiChannelImage, Normalize, PILImageBW, Pipeline, PointBlock, PointLoss, RandomResizedCrop, RandomSplitter, Resize,
    SegmentationDataLoaders, SegmentationInterpretation, Tensor, UsageError, accuracy_multi, aug_transforms, get_image_files, imagenet_stats,
    load_learner, nn, np, parent_label, partial, pd, plt, resnet18, torch, vision_learner)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close('all')


@pytest.fixture
def camvid(tmp_path):
    "Images with a bright square, masks beside them, and the names of the codes in a file"
    rng = np.random.default_rng(0)
    for o in ('images', 'labels'): (tmp_path/o).mkdir()
    for i in range(20):
        x,y = rng.integers(2, 18, 2)
        mask = np.zeros((24, 32), dtype=np.uint8)
        mask[y:y+5,x:x+12] = 2
        mask[:2] = 1
        image = (mask[...,None]*80 + rng.integers(0, 60, (24, 32, 3))).astype(np.uint8)
        Image.fromarray(image).save(tmp_path/'images'/f'{i:02}.png')
        Image.fromarray(mask).save(tmp_path/'labels'/f'{i:02}_P.png')
    (tmp_path/'codes.txt').write_text('Road\nVoid\nCar\n')
    return tmp_path


def pixel_model(n_out): return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, n_out, 1))


def mask_loaders(path, **kwargs):
    return SegmentationDataLoaders.from_label_func(path, bs=4, fnames=get_image_files(path/'images'), seed=0,
        label_func=lambda o: path/'labels'/f'{o.stem}_P{o.suffix}', codes=np.loadtxt(path/'codes.txt', dtype=str), **kwargs)


def test_segmentation_in_four_lines(camvid):
    dls = mask_loaders(camvid, ignore_index='Void')
    dls.show_batch(max_n=4)
    torch.manual_seed(0)
    learn = Learner(dls, pixel_model(dls.c))
    learn.fit_one_cycle(12, 5e-2)
    learn.show_results(max_n=3, figsize=(7, 8))
    assert [ax.get_title() for ax in plt.gcf().axes]==['target', 'prediction']*3
    scores = SegmentationInterpretation.from_learner(learn).scores()
    assert scores.pixels['Void']==0 and scores.jaccard['Road']>0.8 and scores.jaccard['Car']>0.5
    mask,_,probs = learn.predict(camvid/'images'/'00.png')
    assert mask.size==(32, 24) and probs.shape==(3, 24, 32) and set(mask.counts())<={'Road', 'Car'}
    again = load_learner(learn.export('camvid.mylib', parts={'model': learn.model}), parts={'model': learn.model})
    assert np.array_equal(np.asarray(again.predict(camvid/'images'/'00.png')[0]), np.asarray(mask))


def test_the_masks_of_a_set_are_not_kept_in_memory(camvid):
    dls = mask_loaders(camvid)
    learn = Learner(dls, pixel_model(dls.c))
    interp = SegmentationInterpretation.from_learner(learn, ds_idx=0)
    kept = sum(o.nbytes for o in vars(interp).values() if isinstance(o, Tensor))
    assert kept<1000<16*24*32 # the masks alone, one byte a pixel
    preds,targs,decoded = learn.get_preds(ds_idx=0, with_decoded=True)
    worst = interp.worst(2)
    for i,(answer,_) in zip(worst, interp.answers(worst)): assert torch.equal(answer.values[0], decoded[i])
    loss = nn.functional.cross_entropy(learn.model(dls.train.new(shuffle=False, training=False).one_batch()[0]), targs[:4], reduction='none').mean((1, 2))
    assert torch.allclose(interp.losses[:4], loss, atol=1e-5)


def test_one_color_for_a_code_in_every_image(camvid):
    dls = mask_loaders(camvid)
    block,both = dls.blocks[1],[dls.blocks[1].decode(torch.tensor(o), ()) for o in ([[0, 2]], [[2, 2]])]
    assert np.array_equal(both[0].rgba()[0,1], both[1].rgba()[0,0])
    assert block.legend(both[:1])['Car']==block.legend(both[1:])['Car']


# Several labels

@pytest.fixture
def pascal(tmp_path):
    "A table of images with several labels"
    files = get_image_files(synth_images(tmp_path/'train', n_per_class=10, size=32))
    df = pd.DataFrame(dict(fname=[str(o.relative_to(tmp_path/'train')) for o in files],
                           labels=[f"{o.parent.name} {'odd' if int(o.stem[-1])%2 else 'even'}" for o in files]))
    return tmp_path, df.assign(is_valid=[i%4==0 for i in range(len(df))])


def test_a_data_block_built_up_step_by_step(pascal):
    path,df = pascal
    x,y = DataBlock().datasets(df).train[0]
    assert x['fname']==y['fname']
    x,y = DataBlock(get_x=lambda r: r['fname'], get_y=lambda r: r['labels']).datasets(df).train[0]
    assert (df[df.fname==x].labels==y).all()
    def get_x(r): return path/'train'/r['fname']
    def get_y(r): return r['labels'].split(' ')
    def splitter(df): return df.index[~df['is_valid']].tolist(), df.index[df['is_valid']].tolist()
    dblock = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), splitter=splitter, get_x=get_x, get_y=get_y,
                       item_tfms=RandomResizedCrop(24, min_scale=0.35))
    dsets = dblock.datasets(df)
    idxs = torch.where(dsets.train[0][1]==1.)[0]
    assert sorted(dsets.train.vocab[idxs])==sorted(df[~df.is_valid].labels.iloc[0].split())
    assert len(dsets.valid)==int(df.is_valid.sum())
    dls = dblock.dataloaders(df, bs=8)
    assert dls.one_batch()[0].shape==(8, 3, 24, 24)
    dls.show_batch(nrows=1, ncols=3)
    dblock.summary(df)


@pytest.mark.parametrize('y_block', [None, MultiCategoryBlock])
def test_labels_and_the_split_from_columns(pascal, y_block):
    path,df = pascal
    dls = ImageDataLoaders.from_df(df, path, folder='train', valid_col='is_valid', label_delim=' ', y_block=y_block, item_tfms=Resize(16))
    assert set(dls.vocab)=={o for row in df.labels for o in row.split()} and len(dls.valid_ds)==int(df.is_valid.sum())


def test_the_answer_may_be_none_one_or_two(tmp_path):
    path = synth_images(tmp_path/'bears', n_per_class=8, size=24)
    bears = DataBlock(blocks=(ImageBlock, MultiCategoryBlock), get_items=get_image_files, splitter=RandomSplitter(seed=1),
                      get_y=Pipeline([parent_label, lambda o: [o]]), item_tfms=Resize(16))
    dls = bears.dataloaders(path, bs=8, seed=0)
    assert dls.train_ds[0][1].sum()==1
    learn = vision_learner(dls, resnet18, pretrained=False, metrics=partial(accuracy_multi, thresh=0.2))
    found = []
    for bias in (-9., 9.): # the same answer for every image: no label, or all of them
        last = nn.Linear(512, dls.c)
        with torch.no_grad():
            last.weight.zero_()
            last.bias.fill_(bias)
        learn.model[1][-1][-1] = last
        label,_,_ = learn.predict(get_image_files(path)[0])
        found.append(list(label))
        learn.show_results(max_n=2)
    assert found==[[], list(dls.vocab)]


# Points

def test_one_person_is_held_out_whole(tmp_path):
    rng,at = np.random.default_rng(0),{}
    for person in ('01', '02', '13'):
        (tmp_path/person).mkdir()
        for k in range(6):
            x,y = rng.uniform(8, 32, 2)
            a = np.full((40, 40, 3), 30, dtype=np.uint8)
            a[int(y)-3:int(y)+3,int(x)-3:int(x)+3] = 240
            Image.fromarray(a).save(tmp_path/person/f'{k}.png')
            at[person, f'{k}.png'] = torch.tensor([x, y])
    biwi = DataBlock(blocks=(ImageBlock, PointBlock), get_items=get_image_files, get_y=lambda o: at[o.parent.name, o.name],
                     splitter=FuncSplitter(lambda o: o.parent.name=='13'),
                     batch_tfms=[*aug_transforms(size=(48, 64)), Normalize.from_stats(*imagenet_stats)])
    dls = biwi.dataloaders(tmp_path, bs=4, seed=0)
    xb,yb = dls.one_batch()
    assert xb.shape==(4, 3, 48, 64) and yb.shape==(4, 1, 2) and len(dls.valid_ds)==6
    learn = vision_learner(dls, resnet18, pretrained=False, y_range=(-1, 1))
    assert isinstance(learn.loss_func, PointLoss)
    learn.fit(1)
    learn.show_results(max_n=3)
    preds,targs = learn.get_preds()
    assert preds.shape==targs.shape==(6, 1, 2) and preds.abs().max()<=1
    assert abs(learn.validate()[0]-((preds-targs)**2).mean().item())<1e-4
    file = learn.export(tmp_path/'biwi.mylib')
    image = get_image_files(tmp_path)[0]
    assert torch.allclose(load_learner(file).predict(image)[0], learn.predict(image)[0], atol=1e-3)


# Descriptions in a file

@pytest.mark.parametrize('block', [MaskBlock(['a', 'b', 'void'], values=[3, 7, 255], ignore_index='void'), PointBlock(3, clip=True), BBoxBlock(clip=True),
    BBoxLblBlock(['a', 'b']), ImageBlock(MultiChannelImage, values=[(0, 5), (1, 9)], n_channels=2, channels=[1]), ImageBlock(PILImageBW)])
def test_a_block_comes_back_from_its_description(block):
    again = build_part(json.loads(json.dumps(describe(block))))
    assert type(again) is type(block) and describe(again)==describe(block)


@pytest.mark.parametrize('name,args', [('MaskBlock', dict(codes=['a'], values=[10**12])), ('MaskBlock', dict(codes=['a'], ignore_index=10**12)),
    ('MaskBlock', dict(codes=['a'], values=['x'])), ('MaskBlock', dict(codes=['a', 'a'])), ('PointBlock', dict(n='many')), ('PointBlock', dict(n=-1)),
    ('OpenChannels', dict(n=10**12)), ('OpenChannels', dict(values=[[1, 0]])), ('OpenChannels', dict(values='x'))])
def test_a_strange_description_is_refused(name, args):
    with pytest.raises(UsageError): build_part({'part': f'vision.{name}', 'args': args})
