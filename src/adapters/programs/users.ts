/**
 * Users and groups of this machine, as its files name them: programs run as one of them. Names that only
 * a directory service knows are not found; a number always is.
 */
import { readFileSync } from 'node:fs';

import { err, messageOf, ok, type Result } from '../../lib/result.ts';

export type ProgramUser = {
  readonly uid: number;
  readonly gid: number;
  /** Null: the number has no name here. */
  readonly name: string | null;
  readonly home: string | null;
  readonly shell: string | null;
};

export type UserFiles = { readonly passwd: string; readonly group: string };

const SYSTEM_FILES: UserFiles = { passwd: '/etc/passwd', group: '/etc/group' };
/** Largest id; (uid_t) -1 means "unchanged" to the kernel. */
const ID_MAX = 2 ** 32 - 2;

/**
 * `name`, `name:group`, or numbers in either place; without a group the user's own. Read anew each
 * time, so that a user added later is found. The error is words for people.
 */
export function findUser(
  text: string,
  files: UserFiles = SYSTEM_FILES,
): Result<ProgramUser, string> {
  const [userText = '', groupText, ...rest] = text.split(':');
  if (userText === '' || groupText === '' || rest.length > 0)
    return err(`"${text}" is not a user; allowed: a name or a number, and a group after a colon`);
  const users = readRows(files.passwd);
  if (!users.ok) return users;
  const user = parseUser(userText, users.value);
  if (user === null) return err(`there is no user ${userText} in ${files.passwd}`);
  if (groupText === undefined) return ok(user);
  const groups = readRows(files.group);
  if (!groups.ok) return groups;
  const gid = parseGroup(groupText, groups.value);
  return gid === null
    ? err(`there is no group ${groupText} in ${files.group}`)
    : ok({ ...user, gid });
}

type Row = readonly string[];

function parseUser(text: string, rows: readonly Row[]): ProgramUser | null {
  const number = parseId(text);
  // A name comes first: there are users whose names are digits.
  const row =
    rows.find(([name]) => name === text) ??
    rows.find(([, , uid]) => number !== null && parseId(uid) === number);
  if (row !== undefined) {
    const [name = '', , uid, gid, , home = '', shell = ''] = row;
    const ids = { uid: parseId(uid), gid: parseId(gid) };
    if (ids.uid === null || ids.gid === null) return null;
    return { uid: ids.uid, gid: ids.gid, name, home: home || null, shell: shell || null };
  }
  return number === null ? null : { uid: number, gid: number, name: null, home: null, shell: null };
}

function parseGroup(text: string, rows: readonly Row[]): number | null {
  const row = rows.find(([name]) => name === text);
  return parseId(row === undefined ? text : row[2]);
}

function parseId(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return null;
  const id = Number(text);
  return id <= ID_MAX ? id : null;
}

function readRows(file: string): Result<readonly Row[], string> {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    return ok(lines.map((line) => line.split(':')));
  } catch (error) {
    return err(messageOf(error));
  }
}
