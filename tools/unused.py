"""Parameters that are never read: `python tools/unused.py [FOLDER]`

Excused are `self` and `cls`, names that begin with `_` (an interface forces them on us), special methods (`__exit__`),
overloads and abstract methods, and interfaces: functions whose body is only a docstring, `pass`, `...` or one `raise NotImplementedError`.
"""
import ast, sys
from pathlib import Path

FUNCTIONS = ast.FunctionDef, ast.AsyncFunctionDef


def is_docstring(node): return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def is_refusal(node):
    "`raise NotImplementedError`, with or without a message"
    if not isinstance(node, ast.Raise) or node.exc is None: return False
    exc = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(exc, ast.Name) and exc.id=='NotImplementedError'


def is_interface(f):
    "Does `f` only say what others are to do?"
    decorators = {ast.unparse(d).split('.')[-1] for d in f.decorator_list}
    if decorators & {'overload', 'abstractmethod'}: return True
    body = [o for o in f.body if not is_docstring(o) and not isinstance(o, ast.Pass)]
    return not body or len(body)==1 and is_refusal(body[0])


def parameters(f):
    a = f.args
    named = [*a.posonlyargs, *a.args, *a.kwonlyargs] + [o for o in (a.vararg, a.kwarg) if o]
    return [o for o in named if not o.arg.startswith('_') and o.arg not in ('self', 'cls')]


def is_special(f): return f.name.startswith('__') and f.name.endswith('__') and f.name not in ('__init__', '__new__', '__call__')


def unread(f):
    "The parameters of `f` that its body never reads"
    if is_special(f) or is_interface(f): return []
    read = {o.id for part in f.body for o in ast.walk(part) if isinstance(o, ast.Name) and isinstance(o.ctx, ast.Load)}
    return [o for o in parameters(f) if o.arg not in read]


def check(folder):
    "All breaches below `folder`, as lines of text"
    for path in sorted(folder.rglob('*.py')):
        if path.name=='_modidx.py': continue
        for f in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(f, FUNCTIONS):
                yield from (f'{path}:{o.lineno}: `{f.name}` never reads its parameter `{o.arg}`; use it, drop it, or call it `_{o.arg}` '
                            'if an interface asks for it' for o in unread(f))


def main(argv=None):
    found = list(check(Path((argv or sys.argv[1:] or ['mylib'])[0])))
    print('\n'.join(found) or 'unused: every parameter is read')
    return 1 if found else 0


if __name__=='__main__': sys.exit(main())
