/** Expressions find what JavaScript's own find, in any pieces, and never take long. */
import { createContext, Script } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Pattern, VISITS_MAX } from '../../../src/lib/pattern.ts';
import { PATTERN_STATES_MAX } from '../../../src/lib/pattern-syntax.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function compile(source: string, ignoreCase = false): Pattern {
  const pattern = Pattern.compile(source, ignoreCase);
  if (!pattern.ok) throw new Error(`${source} ${pattern.error}`);
  return pattern.value;
}

function matches(source: string, text: string, ignoreCase = false): boolean {
  const scan = compile(source, ignoreCase).scan();
  return scan.feed(bytesOf(text)) || scan.end();
}

/** Expressions of everything that is supported, over a small alphabet, so that they often match. */
const { source: anySource } = fc.letrec<{ source: string; atom: string }>((tie) => ({
  source: fc
    .array(
      fc.tuple(
        tie('atom'),
        fc.constantFrom('', '', '', '*', '+', '?', '{2}', '{1,3}', '{0,}', '*?'),
      ),
      {
        minLength: 1,
        maxLength: 3,
      },
    )
    .map((parts) =>
      parts.map(([atom, times]) => `${atom}${/^[\^$]$|^\\[bB]$/.test(atom) ? '' : times}`).join(''),
    ),
  atom: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(
      'a',
      'b',
      '_',
      ' ',
      '.',
      '[ab]',
      '[^a]',
      '[a-c_]',
      '\\w',
      '\\W',
      '\\d',
      '\\s',
      '\\n',
      '^',
      '$',
      '\\b',
      '\\B',
      '[\\d-]',
    ),
    tie('source').map((source) => `(${source})`),
    fc.tuple(tie('source'), tie('source')).map(([a, b]) => `(?:${a}|${b})`),
  ),
}));
const anyText = fc
  .array(fc.constantFrom('a', 'b', 'c', '_', ' ', '\n', '1', '-'), { maxLength: 7 })
  .map((chars) => chars.join(''));

const asked = { source: '', flags: '', text: '' };
const javaScript = createContext(asked);
const question = new Script('new RegExp(source, flags).test(text)');

/** What JavaScript says; null: it tracks back for longer than anybody waits. */
function saidByJavaScript(source: string, flags: string, text: string): boolean | null {
  try {
    Object.assign(asked, { source, flags, text });
    return question.runInContext(javaScript, { timeout: 100 }) === true;
  } catch (error) {
    if ((error as { code?: string }).code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return null;
    throw error;
  }
}

describe('what matches', () => {
  it('is what JavaScript says, whatever the pieces', () => {
    fc.assert(
      fc.property(anySource, anyText, fc.boolean(), fc.nat(12), (source, text, ignoreCase, cut) => {
        const compiled = Pattern.compile(source, ignoreCase);
        fc.pre(compiled.ok);
        if (!compiled.ok) return;
        const wanted = saidByJavaScript(source, ignoreCase ? 'i' : '', text);
        fc.pre(wanted !== null);
        for (const at of [cut, 0]) {
          const scan = compiled.value.scan();
          const seen =
            scan.feed(bytesOf(text.slice(0, at))) ||
            scan.feed(bytesOf(text.slice(at))) ||
            scan.end();
          expect({ source, text, seen }).toEqual({ source, text, seen: wanted });
        }
      }),
      { numRuns: 800 },
    );
  });

  it('with lines, as JavaScript with the flag m', () => {
    fc.assert(
      fc.property(anySource, anyText, (source, text) => {
        const compiled = Pattern.compile(`(?m)${source}`, false);
        const wanted = saidByJavaScript(source, 'm', text);
        fc.pre(compiled.ok && wanted !== null);
        const seen = matches(`(?m)${source}`, text);
        expect({ source, text, seen }).toEqual({ source, text, seen: wanted });
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    ['status":\\s*"(ok|ready)"', '{"status": "ready"}', true],
    ['^OK$', 'OK', true],
    ['^OK$', 'OK\n', false],
    ['(?m)^OK$', 'x\r\nOK\r\ny', true],
    ['a.c', 'a\nc', false],
    ['(?s)a.c', 'a\nc', true],
    ['(?i)GRÜN', 'grün', false],
    ['Grün', 'grün Grün', true],
    ['\\x00\\xff', 'x', false],
    ['[\\]x-]+$', ']x-', true],
    ['a{0}b', 'b', true],
    ['(?<name>a)b', 'ab', true],
    ['\\$\\{\\}', '${}', true],
    ['\\Aab\\z', 'ab', true],
    ['', '', true],
    ['[]', 'a', false],
    ['[^]', '\n', true],
    ['(a*)*b', 'aaab', true],
    ['(){99}a', 'a', true],
  ])('%j in %j: %s', (source, text, wanted) => expect(matches(source, text)).toBe(wanted));

  it('takes bytes that are no text', () => {
    const scan = compile('\\x00\\xfe+').scan();
    expect(scan.feed(Uint8Array.of(1, 0))).toBe(false);
    expect(scan.feed(Uint8Array.of(0xfe))).toBe(true);
  });

  it('knows many expressions apart from each other and from scan to scan', () => {
    const pattern = compile('b$');
    expect([pattern.scan(), pattern.scan()].map((scan) => scan.feed(bytesOf('ab')))).toEqual([
      false,
      false,
    ]);
    const scan = pattern.scan();
    scan.feed(bytesOf('ab'));
    expect(scan.end()).toBe(true);
    expect(pattern.scan().end()).toBe(false);
  });
});

describe('what is refused', () => {
  it.each([
    ['(a', /"\(" without "\)"/],
    ['a)', /"\)" without "\("/],
    ['[a', /ends too early/],
    ['*a', /nothing to repeat before "\*" at 1/],
    ['a**', /repeats a repetition/],
    ['a++', /possessive/],
    ['^*', /no length/],
    ['a{2,1}', /repeats 2 to 1 times/],
    ['a{x}', /no repetition at 2: write/],
    ['(a)\\1', /back-reference/],
    ['(?=a)', /look-around/],
    ['(?<!a)b', /look-around/],
    ['a(?i)b', /flags within/],
    ['\\p{L}', /unknown escape "\\p"/],
    ['\\xg0', /no two digits/],
    ['[z-a]', /ends before it begins/],
    ['[ä]', /only ASCII/],
    ['a\\', /ends too early/],
    ['x'.repeat(513), /longer than 512/],
    ['(a{50}){50}', new RegExp(`more than ${PATTERN_STATES_MAX} states`)],
    ['(((((){999}){999}){999}){999})', /too large/],
    ['('.repeat(60) + ')'.repeat(60), /nested/],
  ])('%s', (source, wanted) => {
    const pattern = Pattern.compile(source, false);
    expect(pattern.ok ? 'accepted' : pattern.error).toMatch(wanted);
  });

  it('never throws, whatever is written', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.string(), fc.string({ unit: 'binary' })),
        fc.uint8Array(),
        (source, text) => {
          const pattern = Pattern.compile(source, true);
          if (pattern.ok) pattern.value.scan().feed(text);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('what it costs', () => {
  // The classic traps: a matcher that tries one path after the other needs 2^30 steps and more.
  it.each(['(a+)+$', '(a|a)*$', '(.*)*x', '(a|aa)+$', '(a?){30}a{30}$', '([a-z]+)*=$'])(
    '%s',
    (source) => {
      const pattern = compile(source);
      const scan = pattern.scan();
      scan.feed(bytesOf(`${'a'.repeat(65_536)}!`));
      scan.end();
      expect(pattern.visits).toBeLessThan(200_000);
    },
  );

  it('is given up where places never repeat', () => {
    const pattern = compile(`(.*a.{200}b|.*c.{100}d|.*e.{200}f)!`);
    const scan = pattern.scan();
    let state = 1;
    const text = new Uint8Array(1 << 20).map(() => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return 97 + ((state >>> 16) % 6);
    });
    expect(scan.feed(text)).toBe(false);
    expect(scan.isExhausted).toBe(true);
    expect(scan.end()).toBe(false);
    expect(pattern.visits).toBeLessThan(VISITS_MAX + 1_000);
  });
});
