import { expect, it } from 'vitest';
import { formatTable } from '../../../src/cli/table.ts';

it('has one line for each row, whatever an operator gave for a reason', () => {
  const rows = [
    ['10.90.0.21:80', 'drain: disk\nis full\r\n\u001B[2J'],
    ['10.90.0.22:80', ''],
  ];
  expect(formatTable([{ title: 'REAL SERVER' }, { title: 'NOTE' }], rows)).toBe(
    ['REAL SERVER    NOTE', '10.90.0.21:80  drain: disk is full [2J', '10.90.0.22:80', ''].join(
      '\n',
    ),
  );
});
