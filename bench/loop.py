"""What a step of our training loop costs, against the same loop written out in PyTorch, and fastai's

    python bench/loop.py [--batches 400] [--repeats 15] [--no-fastai] [--profile]

Same model, same fused AdamW with the same parameter groups, same one-cycle schedule of rate and momentum, same batches; the two
take turns, so that what else the machine does falls on both; so does fastai, with its own AdamW and a batch to validate on. Aimed at: at most 10% more time, or 50 microseconds more a step,
whichever is larger. `--profile` prints instead where our own time goes.
"""
import argparse, contextlib, cProfile, io, math, pstats, statistics

import torch
import torch.nn.functional as F
from torch import nn

from mylib.data.loaders import DataLoaders
from mylib.learner.learner import Learner
from mylib.train.optimizer import make_groups

from common import close, fastai_argument, fastai_side, in_turn, middle, ratio, said, seconds, table

models = { # Name to widths, batch size
    'MLP 8-16-2, batch 8': ((8, 16, 2), 8),
    'MLP 64-128-128-10, batch 64': ((64, 128, 128, 10), 64),
    'MLP 256-512-512-10, batch 128': ((256, 512, 512, 10), 128),
}
lr_max,moms = 1e-3,(0.95, 0.85, 0.95)


def make_model(widths):
    torch.manual_seed(0)
    return nn.Sequential(*[o for i,j in zip(widths, widths[1:]) for o in (nn.Linear(i, j), nn.ReLU())][:-1])


def make_batches(widths, bs, n):
    gen = torch.Generator().manual_seed(0)
    return [(torch.randn(bs, widths[0], generator=gen), torch.randint(widths[-1], (bs,), generator=gen)) for _ in range(n)]


def cosine(a, b, x): return a + (1-math.cos(math.pi*x))*(b-a)/2


def one_cycle(progress, pct=0.25):
    "Learning rate and momentum"
    if progress<pct: return cosine(lr_max/25, lr_max, progress/pct),cosine(moms[0], moms[1], progress/pct)
    x = (progress-pct)/(1-pct)
    return cosine(lr_max, lr_max/1e5, x),cosine(moms[1], moms[2], x)


def make_opt(model): return torch.optim.AdamW(make_groups(model), lr=lr_max, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01, fused=True)


def bare(model, batches):
    "The loop as one would write it by hand, with a schedule written out"
    opt = make_opt(model)
    model.train()
    for i,(xb,yb) in enumerate(batches):
        lr,mom = one_cycle(i/len(batches))
        for g in opt.param_groups: g['lr'],g['betas'] = lr,(mom, g['betas'][1])
        F.cross_entropy(model(xb), yb).backward()
        opt.step()
        opt.zero_grad()


def torch_schedule(model, batches):
    "The same with PyTorch's own one-cycle schedule"
    opt = make_opt(model)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr_max, total_steps=len(batches)+1, pct_start=0.25, base_momentum=moms[1], max_momentum=moms[0], final_div_factor=4e3)
    model.train()
    for xb,yb in batches:
        F.cross_entropy(model(xb), yb).backward()
        opt.step()
        opt.zero_grad()
        sched.step()


def ours(model, batches):
    "`fit_one_cycle` with what every fit has: recorder, table, schedule"
    learn = Learner(DataLoaders(batches), model, loss_func=F.cross_entropy, metrics=[], moms=moms)
    with learn.no_bar(), contextlib.redirect_stdout(io.StringIO()): learn.fit_one_cycle(1, lr_max)


loops = dict(bare=bare, torch_schedule=torch_schedule, ours=ours)


def same_weights(widths, batches):
    "Our loop and the bare one do the same work"
    res = []
    for f in bare,ours:
        model = make_model(widths)
        f(model, batches)
        res.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch.testing.assert_close(*res, rtol=1e-4, atol=1e-5)


def timings(widths, bs, batches, args):
    "Seconds of an epoch of each loop, in turn"
    def fit(f):
        model = make_model(widths)
        return seconds(lambda: f(model, batches))
    tasks,rivals = {k: lambda f=f: fit(f) for k,f in loops.items()}, {}
    if not args.no_fastai:
        rivals['fastai'] = fastai_side('Loop', widths=widths, bs=bs, n=len(batches))
        tasks['fastai'] = lambda: rivals['fastai']('fit')
        if widths==list(models.values())[0][0]: said(rivals)
    for f in tasks.values(): f()
    res = in_turn(tasks, args.repeats)
    close(rivals)
    return {k: [o/len(batches)*1e6 for o in v] for k,v in res.items()}


def row(name, widths, bs, args):
    batches = make_batches(widths, bs, args.batches)
    same_weights(widths, batches)
    res = timings(widths, bs, batches, args)
    mid = {k: statistics.median(v) for k,v in res.items()}
    more = mid['ours']-mid['bare']
    return [name, *(middle(res[k]) if k in res else '' for k in ('bare', 'torch_schedule', 'ours', 'fastai')), f'{more:+.0f}', ratio(res['ours'], res['bare']),
            ratio(res['fastai'], res['ours']) if 'fastai' in res else '', 'yes' if more<=max(0.1*mid['bare'], 50) else 'no']


def profile(batches, widths):
    model,prof = make_model(widths),cProfile.Profile()
    ours(model, batches)
    prof.enable(); ours(model, batches); prof.disable()
    pstats.Stats(prof).sort_stats('tottime').print_stats('mylib|builtins|method', 40)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--batches', type=int, default=400)
    p.add_argument('--repeats', type=int, default=15)
    p.add_argument('--profile', action='store_true')
    fastai_argument(p)
    args = p.parse_args()
    torch.set_num_threads(1)
    if args.profile: return profile(make_batches((8, 16, 2), 8, args.batches), (8, 16, 2))
    print(f"torch {torch.__version__}, 1 thread, {args.batches} batches, median of {args.repeats} (middle half); microseconds a step\n")
    rows = [row(name, widths, bs, args) for name,(widths,bs) in models.items()]
    table(['', 'bare', 'OneCycleLR', 'ours', 'fastai', 'ours - bare', 'ours / bare', 'fastai / ours', 'within the aim'], rows)


if __name__=='__main__': main()
