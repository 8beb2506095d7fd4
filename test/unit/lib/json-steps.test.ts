/** Long JSON in pieces is what `JSON.parse` makes of it, and refused where that refuses it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseJsonSteps } from '../../../src/lib/json-steps.ts';
import { runSteps } from '../../../src/lib/steps.ts';

const parse = (text: string): unknown => runSteps(parseJsonSteps(text));

function outcome(parser: (text: string) => unknown, text: string): unknown {
  try {
    return { value: parser(text) };
  } catch (error) {
    return error instanceof SyntaxError ? 'refused' : error;
  }
}

/** Longer than what is parsed in one go. */
const padding = 'x"\\'.repeat(30_000);
const long = fc
  .tuple(fc.jsonValue(), fc.jsonValue(), fc.array(fc.jsonValue(), { maxLength: 4 }))
  .chain(([one, other, list]) =>
    fc.constantFrom<unknown>(
      [one, padding, other],
      { [padding]: one, other },
      { list: [...list, { deep: [padding, { a: padding, other }] }], one },
      Array.from({ length: 4000 }, () => [other, 'twenty characters or']),
      { many: Object.fromEntries(Array.from({ length: 4000 }, (_, i) => [`name ${i}`, { one }])) },
      padding,
    ),
  );

describe('JSON in pieces', () => {
  it('is what JSON.parse makes of it', () => {
    fc.assert(
      fc.property(long, fc.constantFrom(undefined, 1, '\t'), (value, space) => {
        const text = ` ${JSON.stringify(value, null, space)}\n`;
        expect(parse(text)).toEqual(JSON.parse(text));
      }),
      { numRuns: 60 },
    );
    expect(parse('{"a":[1,null,"b"]}')).toEqual({ a: [1, null, 'b'] });
  });

  it('is refused where JSON.parse refuses it', () => {
    const text = JSON.stringify({ a: [1, { b: padding }], c: { d: [padding, 2] }, e: [] });
    const marks = Array.from(text).flatMap((char, i) => ('[]{},:'.includes(char) ? [i] : []));
    fc.assert(
      fc.property(
        fc.constantFrom(...marks),
        fc.constantFrom('', ',', ']', '}', '[', '{', ':', '"', ' ', ',,', '\u00a0'),
        fc.nat(1),
        (at, put, cut) => {
          const changed = text.slice(0, at) + put + text.slice(at + cut);
          expect(outcome(parse, changed)).toEqual(outcome(JSON.parse, changed));
        },
      ),
      { numRuns: 400 },
    );
    const broken = ['', '[', `[1,"${padding}`, `[1],["${JSON.stringify(padding)}"]`];
    const ends = [
      `[${'1,'.repeat(40_000)}]`,
      `{"a":${JSON.stringify(padding)},}`,
      `[,${'1,'.repeat(40_000)}1]`,
    ];
    for (const one of [...broken, ...ends]) expect(outcome(parse, one)).toBe('refused');
  });

  it('keeps the last of members with one name, and members of any name', () => {
    const filler = JSON.stringify(padding);
    const text = `{"a":1,"__proto__":{"x":1},"pad":${filler},"a":2,"1":3,"__proto__":{"y":[${filler}]}}`;
    const parsed = parse(text);
    expect(parsed).toEqual(JSON.parse(text));
    expect(Object.keys(parsed as object)).toEqual(Object.keys(JSON.parse(text) as object));
    expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
  });

  it('takes a rest every millisecond or so', () => {
    const text = JSON.stringify(
      Array.from({ length: 20_000 }, (_, i) => ({ address: `10.0.0.${i}` })),
    );
    const steps = parseJsonSteps(text);
    let rests = 0;
    while (steps.next().done !== true) rests++;
    expect(rests).toBeGreaterThan((2 * text.length) / 70_000);
  });
});
