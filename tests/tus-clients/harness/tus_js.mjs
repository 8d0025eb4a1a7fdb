/** tus-js-client as a promise; every option is the client's own. */
import { Upload } from 'tus-js-client'

export const QUICK = [0, 100, 200, 400, 800, 1600, 3200]

export function prepare(source, options) {
  let settle
  const done = new Promise((resolve, reject) => {
    settle = { resolve, reject }
  })
  done.catch(() => {})
  const upload = new Upload(source, {
    retryDelays: QUICK,
    ...options,
    onSuccess: () => settle.resolve(upload.url),
    onError: (why) => settle.reject(why),
  })
  return { upload, done }
}

/** Uploads and answers the upload's URL. */
export async function uploaded(source, options) {
  const { upload, done } = prepare(source, options)
  upload.start()
  return done
}
