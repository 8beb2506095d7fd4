import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findUser } from '../../../../src/adapters/programs/users.ts';

const directory = mkdtempSync(join(tmpdir(), 'leasehold-users-'));
const files = { passwd: join(directory, 'passwd'), group: join(directory, 'group') };

beforeAll(() => {
  writeFileSync(
    files.passwd,
    [
      'root:x:0:0:root:/root:/bin/bash',
      'probe:x:900:901::/var/lib/probe:/usr/sbin/nologin',
      '42:x:4200:4201::/home/42:/bin/sh',
      'broken:x:many:1::/:',
      'short',
      '',
    ].join('\n'),
  );
  writeFileSync(files.group, 'root:x:0:\nobservers:x:950:probe,root\n');
});
afterAll(() => rmSync(directory, { recursive: true }));

const find = (text: string) => findUser(text, files);

describe('findUser', () => {
  it('finds a name with its own group, home and shell', () => {
    expect(find('probe')).toEqual({
      ok: true,
      value: {
        uid: 900,
        gid: 901,
        name: 'probe',
        home: '/var/lib/probe',
        shell: '/usr/sbin/nologin',
      },
    });
  });

  it.each([
    ['probe:observers', 900, 950],
    ['probe:0', 900, 0],
    ['900', 900, 901],
    ['900:observers', 900, 950],
    ['7777', 7777, 7777],
    ['42', 4200, 4201],
  ])('reads %s as %i:%i', (text, uid, gid) => {
    expect(find(text)).toMatchObject({ ok: true, value: { uid, gid } });
  });

  it.each([
    ['nobody', `there is no user nobody in ${files.passwd}`],
    ['broken', `there is no user broken in ${files.passwd}`],
    ['-1', `there is no user -1 in ${files.passwd}`],
    // (uid_t) -1 would leave the user unchanged.
    ['4294967295', `there is no user 4294967295 in ${files.passwd}`],
    ['probe:sudo', `there is no group sudo in ${files.group}`],
  ])('does not find %s', (text, error) => {
    expect(find(text)).toEqual({ ok: false, error });
  });

  it.each(['', ':', 'probe:', ':observers', 'a:b:c'])('refuses "%s"', (text) => {
    const found = find(text);
    expect(found.ok ? '' : found.error).toContain('is not a user');
  });

  it('says which file cannot be read', () => {
    const found = findUser('probe', { ...files, passwd: join(directory, 'none') });
    expect(found.ok ? '' : found.error).toContain(join(directory, 'none'));
  });
});
