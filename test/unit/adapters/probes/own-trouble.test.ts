/** What people are told of probes that this machine cannot make. */
import { expect, it } from 'vitest';
import { OwnTrouble } from '../../../../src/adapters/probes/own-trouble.ts';

it('tells nobody of what happened once', () => {
  const trouble = new OwnTrouble();
  expect(trouble.tell(0)).toBeNull();
  trouble.note('no descriptor', 1000);
  trouble.note('no descriptor', 5000);
  expect(trouble.tell(60_000)).toBeNull();
});

it('tells what lasts, in the words of its beginning, until it is over', () => {
  const trouble = new OwnTrouble();
  for (let at = 0; at <= 600_000; at += 100_000) {
    trouble.note('no program', at);
    trouble.note(`no file ${at}`, at);
  }
  expect(trouble.tell(600_000)).toBe('no program');
  expect(trouble.tell(750_000)).toBe('no program');
  expect(trouble.tell(750_001)).toBeNull();
  trouble.note('no descriptor', 800_000);
  expect(trouble.tell(800_000)).toBeNull();
  trouble.note('no program', 811_000);
  expect(trouble.tell(811_000)).toBe('no descriptor');
});

it('tells what is still wrong when what began first has been mended', () => {
  const trouble = new OwnTrouble();
  for (let at = 0; at <= 20_000; at += 2000) trouble.note('no program', at);
  for (let at = 1000; at <= 300_000; at += 2000) trouble.note('no file', at);
  expect(trouble.tell(300_000)).toBe('no file');
});
