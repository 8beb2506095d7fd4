/** The package: engines, overrides, exact versions, and nothing that ties it to one registry. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

const manifest = JSON.parse(read('package.json')) as {
  readonly type: string;
  readonly license: string;
  readonly engines: { readonly node: string };
  readonly overrides: Record<string, Record<string, string>>;
  readonly bin: Record<string, string>;
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
};
const lock = JSON.parse(read('package-lock.json')) as {
  readonly packages: Record<string, { readonly version?: string; readonly resolved?: string }>;
};

describe('package.json', () => {
  it('asks for Node 20.19, or 22.12 and later', () => {
    expect(manifest.engines.node).toBe('^20.19.0 || >=22.12.0');
    expect(manifest.type).toBe('module');
    expect(manifest.license).toBe('Apache-2.0');
  });

  it('gives raw-socket a nan that compiles on Node 24', () => {
    expect(manifest.overrides['raw-socket']).toEqual({ nan: '^2.22.0' });
    const nans = Object.entries(lock.packages).filter(([path]) => /(^|\/)nan$/.test(path));
    expect(nans).not.toEqual([]);
    for (const [path, { version = '' }] of nans) {
      const [major = 0, minor = 0] = version.split('.').map(Number);
      expect(major === 2 && minor >= 22, `${path} is ${version}`).toBe(true);
    }
  });

  it('names exact versions only', () => {
    for (const [name, version] of Object.entries({
      ...manifest.dependencies,
      ...manifest.devDependencies,
    }))
      expect(version, name).toMatch(/^\d+\.\d+\.\d+$/);
  });

  it('has what bin says', () => {
    for (const file of Object.values(manifest.bin)) expect(existsSync(join(ROOT, file))).toBe(true);
  });

  it('lists as a dependency every package that src imports', () => {
    const imported = new Set<string>();
    for (const entry of readdirSync(join(ROOT, 'src'), { recursive: true, withFileTypes: true }))
      if (entry.isFile() && entry.name.endsWith('.ts')) {
        const text = readFileSync(join(entry.parentPath, entry.name), 'utf8');
        for (const [, name] of text.matchAll(/(?:from|import) '((?:@[\w.-]+\/)?[a-z][\w.-]*)[/']/g))
          if (name !== undefined) imported.add(name);
      }
    expect(imported).toContain('typebox');
    expect([...imported].filter((name) => !(name in manifest.dependencies))).toEqual([]);
  });
});

describe('the lock file', () => {
  it('agrees with package.json', () => {
    for (const [name, version] of Object.entries(manifest.dependencies))
      expect(lock.packages[`node_modules/${name}`]?.version, name).toBe(version);
  });

  it('names no registry, nor does .npmrc', () => {
    expect(Object.values(lock.packages).filter(({ resolved }) => resolved !== undefined)).toEqual(
      [],
    );
    expect(read('.npmrc')).not.toMatch(/registry\s*=|https?:|_auth|token/i);
    expect(read('.npmrc')).toMatch(/^omit-lockfile-registry-resolved=true$/m);
  });
});
