/** Runs the files of test/ with Node's runner and sums up. A test that was skipped, or a file without tests, fails. */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'
import { HERE } from './harness/programs.mjs'

const FILE_LIMIT_MS = 300_000
const wanted = process.argv.slice(2)
const all = (await readdir(join(HERE, 'test'))).filter((name) => name.endsWith('.test.mjs')).sort()
const files = all.filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
if (files.length === 0) {
  console.error(`no such file: ${wanted.join(', ')} (there are ${all.join(', ')})`)
  process.exit(2)
}

const count = { passed: 0, failed: 0 }
for (const file of files) {
  console.log(`\n${file}`)
  let ran = 0
  const stream = run({ files: [join(HERE, 'test', file)], concurrency: 1, timeout: FILE_LIMIT_MS, forceExit: true })
  stream.on('test:pass', ({ skip, todo }) => {
    ran += 1
    if (skip === undefined && todo === undefined) count.passed += 1
    else count.failed += 1
  })
  stream.on('test:fail', () => {
    ran += 1
    count.failed += 1
  })
  for await (const line of stream.compose(new spec())) process.stdout.write(line)
  if (ran === 0) {
    console.error(`${file} ran no test`)
    count.failed += 1
  }
}
console.log(`${count.passed} passed, ${count.failed} failed`)
process.exit(count.failed === 0 && count.passed > 0 ? 0 : 1)
