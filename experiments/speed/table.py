"""The results as Markdown tables."""

from typing import Any

from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"values": _values(results), "rest": _rest(results)}


def _values(results: dict[str, Any]) -> str:
    values = results["values"]
    header = [results["network"], "ms a value", "/ forward pass (quartiles)"]
    against = any("of_deepzero" in found for found in values.values())
    header += ["/ DeepZero's"] if against else []
    rows = []
    for name, found in values.items():
        low, high = found["of_forward_quartiles"]
        row = [name, f"{1e3 * found['seconds']:.1f}"]
        row.append(f"{found['of_forward']:.2f} ({low:.2f} - {high:.2f})")
        rows.append(row + ([f"{found['of_deepzero']:.2f}"] if against else []))
    return markdown(header, rows)


def _rest(results: dict[str, Any]) -> str:
    update, memory, mesh = results["update"], results["memory"], results["mesh"]
    dimension = results["dimension"]
    rows = [
        ["machine", results["machine"]],
        [
            f"a period of updates ({' + '.join(map(str, update['values']))} values) / its values",
            _ratio(update),
        ],
        ["temporary memory, a step one by one / a forward pass", f"{memory['ratio']:.2f}"],
        [f"ask and tell, d = {dimension['largest']:.0e} / d = 1e+06", _ratio(dimension)],
        [
            f"operations a device, {mesh['devices']} devices / an even share",
            f"{mesh['operations_ratio']:.2f}",
        ],
        [f"trajectory on {mesh['devices']} devices", _same(mesh["same_bits_on_devices"])],
        ["trajectory of two processes", _same(mesh["same_bits_by_two_processes"])],
    ]
    return markdown(["what", "measured"], rows)


def _ratio(found: dict[str, Any]) -> str:
    low, high = found["ratio_quartiles"]
    return f"{found['ratio']:.2f} ({low:.2f} - {high:.2f})"


def _same(same: bool) -> str:
    return "bit by bit that of one" if same else "differs from that of one"
