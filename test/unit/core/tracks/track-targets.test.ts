import { describe, expect, it } from 'vitest';
import {
  stateKeyOf,
  subjectOf,
  targetOf,
  targetsOf,
} from '../../../../src/core/tracks/track-targets.ts';
import { fileTrack, groupOf, interfaceTrack, processTrack, scriptTrack } from './track-builders.ts';

describe('targetsOf', () => {
  it('watches equal tracks of several groups once, and interfaces not at all', () => {
    const groups = [
      groupOf('web', [scriptTrack(), interfaceTrack(), fileTrack()]),
      // Name, weight, rise and fall are no matter of the run itself.
      groupOf('mail', [
        scriptTrack({ id: 'other', weight: -20, rise: 3, fall: 4, initFail: true }),
        fileTrack({ weight: 2 }),
      ]),
      groupOf('dns', []),
    ];
    expect(targetsOf(groups).map(({ kind }) => kind)).toEqual(['script', 'file']);
  });

  it('tells apart what is to be watched differently', () => {
    const tracks = [
      scriptTrack(),
      scriptTrack({ command: ['/bin/check', '-v'] }),
      scriptTrack({ command: ['/bin/check -v'] }),
      scriptTrack({ user: 'nobody' }),
      scriptTrack({ intervalMs: 2000 }),
      scriptTrack({ timeoutMs: 500 }),
      processTrack(),
      processTrack({ quorum: 2 }),
      fileTrack({ path: '/run/other' }),
      fileTrack({ path: 'nginx' }),
      processTrack({ process: '/run/other' }),
    ];
    const targets = targetsOf([groupOf('web', tracks)]);
    expect(targets).toHaveLength(tracks.length);
    expect(new Set(targets.map(({ id }) => id)).size).toBe(tracks.length);
  });

  it('has none for an interface', () => {
    expect(targetOf(interfaceTrack())).toBeNull();
  });
});

describe('stateKeyOf', () => {
  it('is the same where names and weights differ', () => {
    for (const make of [scriptTrack, processTrack, interfaceTrack])
      expect(stateKeyOf(make({ id: 'a', weight: 5 }))).toBe(stateKeyOf(make({ id: 'b' })));
  });

  it('differs where the state could', () => {
    const tracks = [
      scriptTrack(),
      scriptTrack({ rise: 2 }),
      scriptTrack({ fall: 2 }),
      scriptTrack({ initFail: true }),
      processTrack(),
      processTrack({ delayMs: 1 }),
      // The weight says at which number a file fails.
      fileTrack(),
      fileTrack({ weight: 1 }),
      fileTrack({ initFail: true }),
      interfaceTrack(),
      interfaceTrack({ device: 'eth2' }),
    ];
    expect(new Set(tracks.map(stateKeyOf)).size).toBe(tracks.length);
  });
});

describe('subjectOf', () => {
  it('stays while settings change', () => {
    const settings = { rise: 9, intervalMs: 50, timeoutMs: 20, initFail: true };
    expect(subjectOf(scriptTrack(settings))).toBe(subjectOf(scriptTrack()));
    expect(subjectOf(processTrack({ quorum: 3, delayMs: 9 }))).toBe(subjectOf(processTrack()));
    expect(subjectOf(fileTrack({ weight: 3 }))).toBe(subjectOf(fileTrack()));
  });

  it('differs with what is asked', () => {
    const tracks = [
      scriptTrack(),
      scriptTrack({ user: 'nobody' }),
      scriptTrack({ command: ['/bin/true'] }),
      processTrack({ process: 'x' }),
      fileTrack({ path: 'x' }),
      interfaceTrack({ device: 'x' }),
    ];
    expect(new Set(tracks.map(subjectOf)).size).toBe(tracks.length);
  });
});
