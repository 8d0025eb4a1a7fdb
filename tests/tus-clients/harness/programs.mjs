/** Clients that are programs of their own. */
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const HERE = dirname(dirname(fileURLToPath(import.meta.url)))
const VENV = resolve(process.env.PLIMSOLL_VENV ?? join(HERE, '../../.venv'))
export const PYTHON = join(VENV, 'bin/python')

/** Runs a program to its end: `{ status, stdout, stderr }`. A program that is missing is an error. */
export function run(program, args, { input = '', signal } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], signal, killSignal: 'SIGKILL' })
    const out = { stdout: [], stderr: [] }
    child.stdout.on('data', (data) => out.stdout.push(data))
    child.stderr.on('data', (data) => out.stderr.push(data))
    child.on('error', (why) => why.name !== 'AbortError' && reject(why))
    child.on('close', (status) =>
      resolve({ status, stdout: Buffer.concat(out.stdout).toString(), stderr: Buffer.concat(out.stderr).toString() }),
    )
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}

/** `body(path, directory)` with `data` in a file. */
export async function withFile(data, body) {
  const directory = await mkdtemp(join(tmpdir(), 'plimsoll-tus-clients-'))
  try {
    const path = join(directory, 'file.bin')
    await writeFile(path, data)
    return await body(path, directory)
  } finally {
    await rm(directory, { recursive: true })
  }
}
