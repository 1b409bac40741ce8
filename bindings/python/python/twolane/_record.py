"""Immutable records, such as the information about a peer.

Like frozen dataclasses for type checkers and for users. But `help()` shows the description of each field, and a class
costs some 70 microseconds at import, where a dataclass compiles its methods for a millisecond.
"""

from __future__ import annotations

import inspect
import typing

__all__ = ["Record", "field"]

_MISSING: typing.Final[typing.Any] = object()


class _Field(typing.NamedTuple):
    doc: str
    default: typing.Any


def field(doc: str, *, default: typing.Any = _MISSING) -> typing.Any:
    """Describes a field of a record."""
    return _Field(doc, default)


@typing.dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Record:
    """An immutable object with named fields. Equal to a record of the same class with equal fields."""

    __slots__ = ("_values",)

    _fields: typing.ClassVar[tuple[str, ...]] = ()
    _defaults: typing.ClassVar[dict[str, typing.Any]] = {}
    if not typing.TYPE_CHECKING:
        # Type checkers know these from `dataclass_transform`.
        __match_args__: typing.ClassVar[tuple[str, ...]] = ()

        def _fill(self, args: tuple[typing.Any, ...], named: dict[str, typing.Any]) -> None:
            names, most = self._fields, len(self.__match_args__)
            if len(args) > most:
                raise TypeError(f"{type(self).__name__} takes {most} positional arguments, and {len(args)} were given")
            found = self._defaults | dict(zip(names, args, strict=False))
            for name, value in named.items():
                if name not in names or name in names[: len(args)]:
                    wrong = "more than one value for" if name in names else "no argument"
                    raise TypeError(f"{type(self).__name__} has {wrong} {name!r}")
                found[name] = value
            if missing := [name for name in names if name not in found]:
                raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")
            object.__setattr__(self, "_values", tuple(found[name] for name in names))

        def __init_subclass__(cls, *, kw_only: bool = False) -> None:
            fields = {name: value for name, value in vars(cls).items() if isinstance(value, _Field)}
            cls._fields = tuple(fields)
            cls._defaults = {name: one.default for name, one in fields.items() if one.default is not _MISSING}
            cls.__match_args__ = () if kw_only else cls._fields
            kind = inspect.Parameter.KEYWORD_ONLY if kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
            parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
            for place, (name, one) in enumerate(fields.items()):
                setattr(cls, name, property(lambda self, place=place: self._values[place], doc=one.doc))
                default = inspect.Parameter.empty if one.default is _MISSING else one.default
                parameters.append(inspect.Parameter(name, kind, default=default))

            def __init__(self: Record, *args: typing.Any, **named: typing.Any) -> None:
                self._fill(args, named)

            __init__.__signature__ = inspect.Signature(parameters)
            cls.__init__ = __init__

        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(f"{type(self).__name__} is immutable: replace(..) makes another one")

        def __delattr__(self, name: str) -> None:
            raise AttributeError(f"{type(self).__name__} is immutable")

    def replace(self, **changes: typing.Any) -> typing.Self:
        """Returns a copy with these changes."""
        cls: typing.Any = type(self)
        changed: typing.Self = cls(**self.to_dict() | changes)
        return changed

    __replace__ = replace

    def to_dict(self) -> dict[str, typing.Any]:
        """Returns the names and values of the fields."""
        values: tuple[typing.Any, ...] = getattr(self, "_values")  # noqa: B009
        return dict(zip(self._fields, values, strict=True))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((type(self), *self.to_dict().values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.to_dict().items())
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[typing.Any, ...]:
        return _again, (type(self), self.to_dict())


def _again(cls: typing.Any, fields: dict[str, typing.Any]) -> typing.Any:
    return cls(**fields)
