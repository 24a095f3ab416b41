"""The linear probe beside scikit-learn's LogisticRegression: the same objective, on the same rows.

usage: test_probe.py FIT-PROBE

Rows look like a CNN's pooled features: no negative ones, spreads that differ by a factor of ten, some
that never move. Both are scored by the objective in double, on features scaled as head.h has it:
ours must be within 1e-6 of the better one, in parts of it.
"""
import subprocess
import sys
import warnings

import numpy as np

try:
    from sklearn.linear_model import LogisticRegression
except ImportError as error:
    print(f"SKIPPED: {error}; ./thaw test makes a Python that has it")
    sys.exit(77)

LIMIT = 1e-6
# Rows, features, classes, noise, C * n of scikit-learn.
CASES = [
    (200, 30, 3, 2.0, [1e-2, 1, 1e2, 1e4]),
    (644, 1280, 12, 1.0, [1, 1e3]),
    (1500, 256, 20, 2.0, [1e2]),
    (300, 64, 2, 3.0, [1, 1e3]),
]


def make_rows(rng, n, d, k, noise):
    spread = 10 ** rng.uniform(-0.5, 0.5, d)
    centres = rng.normal(size=(k, d))
    label = rng.permutation(np.arange(n) % k)
    x = np.maximum(0, 0.5 + centres[label] + noise * rng.normal(size=(n, d))) * spread
    x[:, ::17] = 0.25
    return x.astype(np.float32), label.astype(np.int32)


def fit(program, x, label, k, l2):
    n, d = x.shape
    head = np.array([n, d, k], np.int64).tobytes() + np.float64(l2).tobytes()
    done = subprocess.run([program], input=head + x.tobytes() + label.tobytes(), capture_output=True)
    if done.returncode:
        sys.exit(f"{program}: {done.stderr.decode()}")
    values = np.frombuffer(done.stdout, np.float32).astype(np.float64)
    mean, scale, w, b = np.split(values, np.cumsum([d, d, k * d]))
    return mean, scale, w.reshape(k, d), b, done.stderr.decode().strip()


def objective(z, label, w, b, l2):
    y = z @ w.T + b
    y -= y.max(axis=1, keepdims=True)
    loss = np.log(np.exp(y).sum(axis=1)) - y[np.arange(len(y)), label]
    return loss.mean() + l2 / 2 * (w**2).sum()


def peer(z, label, l2):
    solver = LogisticRegression(C=1 / (l2 * len(z)), tol=1e-10, max_iter=100000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That the last digits of its objective do not move.
        solver.fit(z, label)
    w, b = solver.coef_, solver.intercept_
    if len(w) == 1:  # Two classes: one row of differences; halved, the penalty is what two rows have.
        return np.vstack([-w / 2, w / 2]), np.array([-b[0] / 2, b[0] / 2])
    return w, b


def main():
    program, failed = sys.argv[1], 0
    rng = np.random.default_rng(11)
    for n, d, k, noise, strengths in CASES:
        x, label = make_rows(rng, n, d, k, noise)
        for strength in strengths:
            l2 = 1 / strength
            mean, scale, w, b, said = fit(program, x, label, k, l2)
            z = (x.astype(np.float64) - mean) * scale
            live = scale > 0
            ours = objective(z[:, live], label, w[:, live] / scale[live], b + w @ mean, l2)
            # Two classes of scikit-learn share one row of weights w: |w/2|^2 twice is |w|^2 / 2.
            theirs = objective(z, label, *peer(z, label, l2 / 2 if k == 2 else l2), l2)
            worse = ours / min(ours, theirs) - 1
            verdict = "" if worse <= LIMIT else "  FAILED"
            failed += worse > LIMIT
            print(f"{n} x {d}, {k} classes, l2 {l2:.0e}: {ours:.9f}, scikit-learn {theirs:.9f}, "
                  f"{said}{verdict}")
    if failed:
        sys.exit(f"{failed} objectives are more than {LIMIT:.0e} above the optimum")


main()
